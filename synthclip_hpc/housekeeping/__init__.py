"""What a run no longer needs: found by kind, shown, removed. Nothing that decides a result is ever touched."""
