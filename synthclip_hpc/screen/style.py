"""How the screen is laid out; colours are the theme's, so that light and dark are one."""

CSS = """
#head { height: 1; background: $panel; text-wrap: nowrap; text-overflow: ellipsis; }
TabbedContent { height: 1fr; }
TabPane { padding: 0; }
View { height: 1fr; }
KeyedTable > .datatable--cursor { background: $primary 40%; text-style: none; }
KeyedTable:focus > .datatable--cursor { background: $primary 40%; }
#strip { height: auto; padding: 0 1; }
#alarms { height: auto; max-height: 30%; padding: 0 1; }
#press { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
#stages { height: auto; max-height: 60%; margin: 1 0; }
#notes, #group, #training-pane, #samples-pane { height: 1fr; padding: 0 1; }
#groups { height: auto; max-height: 50%; margin-bottom: 1; }
#phase, #mode, #cells-done, #log-path { height: auto; padding: 0 1; }
ContentSwitcher { height: 1fr; }
#attempts, #shards, #behind, #nodes, #matrix, #recent { height: 1fr; }
#chosen { height: 5; max-height: 30%; padding: 0 1; margin-top: 1; }
#filter { height: 1; dock: bottom; }
#lines { height: 1fr; }
#log-path { text-wrap: nowrap; text-overflow: ellipsis; color: $text-muted; height: 1; }
ModalScreen { align: center middle; }
.dialog { width: 90%; max-width: 120; height: 90%; border: round $primary; padding: 0 1; background: $surface; }
.question { height: auto; }
#text { height: 1fr; margin: 1 0; }
"""
