package adminui_test

import (
	"testing"

	"carillon/tenant/export/shelf"
)

const exportsPath = "/portal/north-shore/exports"

// Who may see exports sees what phones download, what is being made, what is late and why,
// and whether the store has it as it was published; the older windows are a page away.
func TestExports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(custodian)
	w.get(exportsPath).wants(200, "Export files").contains("Nothing has been published yet.").lacks("A file is late")

	w.exports.Windows, w.exports.Late, w.exports.Why = 50, true, shelf.Storing
	p := w.get(exportsPath).wants(200, "Export files").contains("A file is late").contains("It was due at 03:00 PST").
		contains("the store of files does not take it").
		contains("https://carillon.example/t/north-shore/exports/index.txt").contains("50 files, 1035 KB").
		contains("Being made").contains("Nothing new: no file").
		contains("In the index. As published, signature valid (").
		contains("Files: 1 Keys: 1000 Own keys: 60 From others: 40 Padding: 900 Revised: 3 Download: 21 KB").
		contains("In the index. Not looked at yet").contains("Keys: 1000 Own keys: – From others: – Padding: –").
		lacks("Write it again")
	w.get(p.link("Older windows")).wants(200, "Export files").contains("Download: 21 KB").lacks("Being made").lacks("Older windows")
	w.get(exportsPath+"?path=nothing/").wants(404, "Page not found")

	w.exports.Folder = "travelers/"
	w.get(w.get(exportsPath).link("/travelers/")).wants(200, "Export files").contains("exports/travelers/index.txt").
		contains("90 seconds").contains("this configuration has ended")
	w.signIn(caseworker)
	w.get(exportsPath).wants(403, "You may not do this")
}

// What a late file waits for is said in words.
func TestWhyAFileIsLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(custodian)
	w.exports.Windows, w.exports.Late = 1, true
	for why, words := range map[shelf.Why]string{
		shelf.NotClosed: "No process has closed its window", shelf.Storing: "does not take it", shelf.Making: "being made right now",
		shelf.Failing: "look at the keys", shelf.Waiting: "It waits for its turn.",
	} {
		w.exports.Why = why
		w.get(exportsPath).wants(200, "Export files").contains(words)
	}
}

// A file that is missing or altered is written again, in two steps; one that is sound is
// not, and who may not ask is not offered to.
func TestAFileIsWrittenAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exports.Windows, w.exports.Finding = 5, shelf.Missing
	w.signIn(custodian)
	ask := w.get(w.get(exportsPath).wants(200, "Export files").contains("Missing: phones cannot download it.").link("Write it again"))
	ask.wants(200, "Write the files of a window again?").contains("Only the very bytes that were published are written.").contains("Leave it as it is")
	w.post(ask.url.Path, nil).wants(200, "Export files").contains("The files are written again within some minutes.").
		contains("Is being written again").lacks("Write it again")
	if len(w.exports.Regenerated) != 1 {
		t.Fatalf("%d windows are written again", len(w.exports.Regenerated))
	}
	w.exports.Remake = shelf.Refused
	w.get(exportsPath).wants(200, "Export files").contains("The same file cannot be made any more").contains("Write it again")
	for _, finding := range []shelf.Finding{shelf.Sound, shelf.Unsigned} {
		w.exports.Finding, w.exports.Remake = finding, ""
		w.get(exportsPath).wants(200, "Export files").lacks("Write it again")
		w.get(ask.url.Path).wants(409, "Nothing to write again")
		w.post(ask.url.Path, nil).wants(409, "Nothing to write again")
	}
	w.get(exportsPath+"/7/regenerate").wants(404, "Page not found")
	w.post(exportsPath+"/7/regenerate", nil).wants(404, "Page not found")
	w.get(exportsPath+"/nonsense/regenerate").wants(404, "Page not found")
	w.get(ask.url.Path+"?path=nothing/").wants(404, "Page not found")

	w.exports.Finding = shelf.Altered
	w.get(exportsPath).wants(200, "Export files").contains("Altered: phones refuse it.")
	w.signIn(caseworker)
	w.post(ask.url.Path, nil).wants(403, "You may not do this")
	if len(w.exports.Regenerated) != 1 {
		t.Errorf("%d windows are written again", len(w.exports.Regenerated))
	}
}
