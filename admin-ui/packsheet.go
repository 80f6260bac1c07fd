package adminui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"carillon/tenant/pack/enx"
)

// translationPage asks for a file with translations.
type translationPage struct {
	Action, Back, Sheet string
	File                field
}

func (s *Server) newSheet(v *visit) (answer, error) { return s.sheetAnswer(v, ""), nil }

func (s *Server) sheetAnswer(v *visit, fault string) answer {
	p := translationPage{
		Action: v.path("/pack/translations"), Back: v.path("/pack"), Sheet: v.path("/pack/translations/sheet"),
		File: field{ID: fieldFile, Label: s.words.text("pack.sheet.file"), Hint: s.words.text("pack.sheet.file.hint"), Type: "file", Wide: true, Error: fault},
	}
	a := answer{page: "pack_sheet", heading: s.words.text("pack.sheet.heading"), data: p}
	if fault != "" {
		a.status, a.problems = http.StatusUnprocessableEntity, []problem{{Field: fieldFile, Text: fault}}
	}
	return a
}

func (s *Server) downloadSheet(v *visit) (answer, error) {
	file, err := s.config.Packs.Translations(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	return fileAnswer("translations-"+string(v.tenant.Slug)+".csv", "text/csv; charset=utf-8", file), nil
}

// translationPlan shows what a file would change, and carries it on.
type translationPlan struct {
	Action, Back, Again string
	Sheet, Versions     string
	Changes             []changeView
	Button              string
}

func (s *Server) examineSheet(v *visit) (answer, error) {
	file, err := s.uploaded(v)
	if err != nil {
		return answer{}, err
	}
	if file == nil {
		return s.sheetAnswer(v, s.words.text("pack.sheet.none")), nil
	}
	plan, err := s.config.Packs.ExamineTranslations(v.r.Context(), v.tenant, v.by, file)
	if errors.Is(err, enx.ErrTranslations) {
		return s.sheetAnswer(v, err.Error()), nil
	}
	if err != nil {
		return answer{}, err
	}
	versions, err := json.Marshal(plan.Versions)
	if err != nil {
		return answer{}, fmt.Errorf("show changes: %w", err)
	}
	p := translationPlan{
		Action: v.path("/pack/translations/confirm"), Back: v.path("/pack"), Again: v.path("/pack/translations"),
		Sheet: string(file), Versions: string(versions), Changes: changeViews(plan.Changes),
		Button: s.words.counted("pack.sheet.take.one", "pack.sheet.take.other", len(plan.Changes)),
	}
	return answer{page: "pack_sheet_plan", heading: s.words.text("pack.sheet.plan.heading"), data: p}, nil
}

// uploaded is the file of a form; nil if there is none.
func (s *Server) uploaded(v *visit) ([]byte, error) {
	if err := v.r.ParseMultipartForm(maxUpload); err != nil {
		return nil, fmt.Errorf("%w: %w", errForm, err)
	}
	f, _, err := v.r.FormFile(fieldFile)
	if err != nil {
		return nil, nil //nolint:nilnil // no file is an answer
	}
	defer f.Close()
	file, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForm, err)
	}
	return file, nil
}

func (s *Server) importSheet(v *visit) (answer, error) {
	if err := v.r.ParseMultipartForm(maxUpload); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	var versions map[string]int
	if err := json.Unmarshal([]byte(v.r.PostForm.Get(fieldVersions)), &versions); err != nil {
		return answer{}, fmt.Errorf("%w: which versions", errForm)
	}
	n, err := s.config.Packs.ImportTranslations(v.r.Context(), v.tenant, v.by, []byte(v.r.PostForm.Get(fieldSheet)), versions)
	if errors.Is(err, enx.ErrTranslations) {
		return s.sheetAnswer(v, err.Error()), nil
	}
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.counted("pack.sheet.taken.one", "pack.sheet.taken.other", n))
	return redirect(v.path("/pack/review"))
}
