package adminui_test

import "testing"

const exportsPath = "/portal/north-shore/exports"

// Who may see exports sees what phones download, what is being made, and what is late; the
// older windows are a page away.
func TestExports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(custodian)
	w.get(exportsPath).wants(200, "Export files").contains("Nothing has been published yet.").lacks("late")

	w.exports.Windows, w.exports.Late = 50, true
	p := w.get(exportsPath).wants(200, "Export files").contains("A file is late").contains("It was due at 03:00 PST").
		contains("https://carillon.example/t/north-shore/exports/index.txt").
		contains("Being made").contains("Nothing new: no file").
		marks("<td>In the index</td>").marks("<td>1</td><td>1000</td><td>3</td><td>21 KB</td>")
	w.get(p.link("Older windows")).wants(200, "Export files").marks("<td>21 KB</td>").lacks("Being made").lacks("Older windows")
	w.get(exportsPath+"?path=nothing/").wants(404, "Page not found")

	w.exports.Folder = "travelers/"
	w.get(w.get(exportsPath).link("/travelers/")).wants(200, "Export files").contains("exports/travelers/index.txt").
		contains("90 seconds").contains("this configuration has ended")
	w.signIn(caseworker)
	w.get(exportsPath).wants(403, "You may not do this")
}
