package adminui

import (
	"fmt"
	"io"

	"carillon/tenant/member"
)

// importPage asks for a file of people.
type importPage struct {
	Action, Back string
	File         field
	Most         string
}

func (s *Server) newImport(v *visit) (answer, error) { return s.importAnswer(v, known{}), nil }

func (s *Server) importAnswer(v *visit, k known) answer {
	p := importPage{
		Action: v.path("/staff/import"), Back: v.path("/staff"), Most: s.words.text("import.most", "n", s.words.number(member.MaxRoster)),
		File: field{ID: fieldFile, Label: s.words.text("import.file"), Hint: s.words.text("import.file.hint"), Type: "file", Wide: true},
	}
	a := answer{page: "staff_import", heading: s.words.text("import.heading")}
	if k.field != "" {
		p.File.Error = s.words.text(k.message)
		a.status, a.problems = k.status, []problem{{Field: k.field, Text: p.File.Error}}
	}
	a.data = p
	return a
}

// rosterPage shows what would become of each row of a file, which it carries on.
type rosterPage struct {
	Action, Back, Again string
	Text                string // the file
	Rows                []rosterRow
	Bad                 bool
	New                 int
	Button              string
}

type rosterRow struct {
	Line, Name, Email string
	Roles             []string
	Verdict           string
	// Texts are what is wrong, or doubtful.
	Texts []string
	Bad   bool
}

func (s *Server) examineImport(v *visit) (answer, error) {
	if err := v.r.ParseMultipartForm(maxUpload); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	f, _, err := v.r.FormFile(fieldFile)
	if err != nil {
		return s.importFailed(v, member.ErrRosterForm)
	}
	defer f.Close()
	file, err := io.ReadAll(f)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	list, err := s.config.Members.Examine(v.r.Context(), v.tenant, v.by, file)
	if err != nil {
		return s.importFailed(v, err)
	}
	return s.rosterAnswer(v, list), nil
}

// importFailed shows the form again if the file is at fault.
func (s *Server) importFailed(v *visit, err error) (answer, error) {
	if k, found := lookUp(err); found && k.field == fieldFile {
		return s.importAnswer(v, k), nil
	}
	return answer{}, err
}

func (s *Server) rosterAnswer(v *visit, list member.Roster) answer {
	p := rosterPage{
		Action: v.path("/staff/import/confirm"), Again: v.path("/staff/import"), Back: v.path("/staff"),
		Text: list.CSV(), Bad: list.Bad(), New: list.New(),
		Button: s.words.counted("import.button.one", "import.button.other", list.New()),
	}
	for _, row := range list.Rows {
		p.Rows = append(p.Rows, s.rosterRow(row))
	}
	a := answer{page: "staff_roster", heading: s.words.text("import.check"), data: p}
	if p.Bad {
		k, _ := lookUp(member.ErrRoster)
		a.status, a.problems = k.status, []problem{{Field: "rows", Text: s.words.text(k.message)}}
	}
	return a
}

func (s *Server) rosterRow(row member.RosterRow) rosterRow {
	w := rosterRow{
		Line: s.words.number(row.Line), Name: row.Name, Email: row.Email, Roles: s.words.roles(row.Roles),
		Verdict: s.words.text("import.verdict.new"), Bad: len(row.Problems) > 0,
	}
	switch {
	case w.Bad:
		w.Verdict = s.words.text("import.verdict.bad")
	case row.Known == member.ErrAlreadyMember: //nolint:errorlint // one of two, never wrapped
		w.Verdict = s.words.text("import.verdict.member")
	case row.Known != nil:
		w.Verdict = s.words.text("import.verdict.invited")
	}
	for _, p := range row.Problems {
		w.Texts = append(w.Texts, s.words.rosterProblem(p))
	}
	for _, d := range row.Doubts {
		w.Texts = append(w.Texts, s.words.rosterDoubt(d))
	}
	return w
}

func (s *Server) confirmImport(v *visit) (answer, error) {
	if err := v.r.ParseMultipartForm(maxUpload); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	list, sent, err := s.config.Members.Import(v.r.Context(), v.tenant, v.by, []byte(v.r.PostForm.Get("list")))
	if k, found := lookUp(err); found && k.cause == member.ErrRoster { //nolint:errorlint // an entry of the table, never wrapped
		return s.rosterAnswer(v, list), nil
	}
	if err != nil {
		return s.importFailed(v, err)
	}
	return s.staffDone(v, s.words.text("import.done", "n", s.words.number(list.New()), "sent", s.words.number(sent)))
}
