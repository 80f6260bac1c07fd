package setting

// Column is the column of a setting, Show how its text is shown.
func (s Setting) Column() string { return s.column }

// Show turns the column's text into the setting's.
func (s Setting) Show(text string) string { return s.kind.show(text) }
