"""The operator's screen: one app on Textual that renders snapshots. Imported only when it is to be shown."""
