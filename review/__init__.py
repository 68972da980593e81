"""The steward's desk: a small web application over the last published snapshot and the decisions store. `bindwatch review` serves it."""
