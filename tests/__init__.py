"""The tests. A package, because a dependency of the artwork installs one of the same name, which would win."""
