package pack

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/pack/enx"
)

// Section is a part of the draft that is saved as a whole: a step, or, of the step with
// texts, a language.
type Section struct {
	Step     enx.Step
	Language string
}

// languagesValue is where the step about the region has the languages.
const languagesValue = "languages"

// name is what the section's row is called.
func (s Section) name() string {
	if s.Step == enx.Texts {
		return string(s.Step) + "-" + s.Language
	}
	return string(s.Step)
}

// Slots are the values that belong there.
func (s Section) Slots() []enx.Slot {
	return slices.DeleteFunc(enx.StepSlots(s.Step), func(slot enx.Slot) bool { return slot.Local != (s.Step == enx.Texts) })
}

// Saved is what was saved of a section.
type Saved struct {
	// Version grows with each save; 0 if there was none.
	Version   int
	Values    map[string]string
	ChangedAt time.Time
	ChangedBy string
}

// Draft is what staff have entered so far.
type Draft struct {
	Config   enx.Config
	sections map[string]Saved
}

// Saved is what was saved of a section.
func (d Draft) Saved(s Section) Saved { return d.sections[s.name()] }

// Sections are the parts of the draft, in the order of the wizard.
func (d Draft) Sections() []Section {
	var list []Section
	for _, step := range enx.Steps() {
		if step != enx.Texts {
			list = append(list, Section{Step: step})
			continue
		}
		for _, lang := range d.Config.Languages {
			list = append(list, Section{Step: step, Language: lang})
		}
	}
	return list
}

type sectionRow struct {
	Section   string
	Version   int
	Content   []byte
	ChangedAt time.Time `db:"changed_at"`
	ChangedBy string    `db:"changed_by"`
}

const sectionsSQL = `
select section, version, content, changed_at, changed_by
  from pack_section`

// readDraft returns the draft of tx's tenant. What was never entered has what is known of
// the tenant.
func readDraft(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant) (Draft, error) {
	var rows []sectionRow
	if err := tx.Select(ctx, &rows, sectionsSQL); err != nil {
		return Draft{}, fmt.Errorf("read draft: %w", err)
	}
	d := Draft{sections: map[string]Saved{}, Config: enx.Config{Values: map[string]string{}, Texts: map[string]map[string]string{}}}
	for _, r := range rows {
		s := Saved{Version: r.Version, ChangedAt: r.ChangedAt, ChangedBy: r.ChangedBy}
		if err := json.Unmarshal(r.Content, &s.Values); err != nil {
			return Draft{}, fmt.Errorf("read draft: %w", err)
		}
		d.sections[r.Section] = s
	}
	d.assemble(t)
	return d, nil
}

// assemble joins the sections to one configuration.
func (d *Draft) assemble(t *tenant.Tenant) {
	languages, err := enx.ParseLanguages(d.sections[string(enx.Region)].Values[languagesValue], t.Region)
	if err != nil {
		languages = []string{t.Settings.Language}
	}
	d.Config.Languages = languages
	for _, s := range d.Sections() {
		saved := d.sections[s.name()].Values
		if s.Step == enx.Texts {
			d.Config.Texts[s.Language] = maps.Clone(saved)
			continue
		}
		maps.Copy(d.Config.Values, saved)
	}
	delete(d.Config.Values, languagesValue)
	if d.sections[string(enx.Region)].Version == 0 {
		d.Config.Values["signAuthorityName"] = t.Name
	}
	if d.sections[string(enx.Classes)].Version == 0 {
		d.Config.Values["classes"] = "1"
	}
}

const (
	firstSaveSQL = `
insert into pack_section (tenant_id, section, version, content, changed_at, changed_by)
values (current_tenant(), $1, 1, $2::jsonb, $3, $4)
    on conflict on constraint pack_section_pkey do nothing`

	saveSQL = `
update pack_section
   set version    = version + 1,
       content    = $2::jsonb,
       changed_at = $3,
       changed_by = $4
 where section = $1
   and version = $5`

	// maxSection bounds a section, in bytes.
	maxSection = 900_000
)

// Save saves a section as it was entered, right or wrong; what is not among values stays as
// it is. It does so over the version that whoever
// entered it has seen: [ErrChanged] if it is another by now, and nothing is lost.
// [ErrStep] if there is no such section, [enx.ErrLanguage] if the languages cannot be
// used, without which no other step could be shown.
func Save(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, s Section, version int, values map[string]string, now time.Time) error {
	d, err := readDraft(ctx, tx, t)
	if err != nil {
		return err
	}
	if !slices.Contains(d.Sections(), s) {
		return ErrStep
	}
	before := d.Saved(s).Values
	kept := map[string]string{}
	for _, slot := range s.Slots() {
		text, given := values[slot.ID()]
		if !given {
			text = before[slot.ID()]
		}
		if text = normal(slot, text); text != "" {
			kept[slot.ID()] = text
		}
	}
	if s.Step == enx.Region {
		languages, err := enx.ParseLanguages(values[languagesValue], t.Region)
		if err != nil {
			return err
		}
		kept[languagesValue] = strings.Join(languages, ", ")
	}
	return save(ctx, tx, by, s, version, before, kept, now)
}

// normal is a value without what nobody sees, and with lines as everybody ends them.
func normal(s enx.Slot, text string) string {
	text = strings.TrimSpace(strings.Map(visible, strings.ReplaceAll(text, "\r\n", "\n")))
	if s.Kind == enx.Color {
		text = strings.ToLower(text)
	}
	return text
}

// visible drops characters that show a text otherwise than it is: empty ones, and those
// that turn around what follows. Joiners stay, without which Persian, Hindi and pictures
// of people are spelt wrongly.
func visible(r rune) rune {
	const empty = "\u200b\u200e\u200f\ufeff"
	turns := r >= '\u202a' && r <= '\u202e' || r >= '\u2060' && r <= '\u2069'
	if turns || strings.ContainsRune(empty, r) {
		return -1
	}
	return r
}

func save(ctx context.Context, tx *tenant.Tx, by authz.Subject, s Section, version int, before, values map[string]string, now time.Time) error {
	content, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("save draft: %w", err)
	}
	if len(content) > maxSection {
		return ErrTooLong
	}
	query, args := firstSaveSQL, []any{s.name(), string(content), now.UTC(), by.Name}
	if version > 0 {
		query, args = saveSQL, append(args, version)
	}
	rows, err := tx.Exec(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("save draft: %w", err)
	}
	if rows == 0 {
		return ErrChanged
	}
	return audit.Record(ctx, tx, now, by, string(authz.PackWrite), "draft "+s.name(), map[string]string{"changed": changedKeys(before, values)})
}

// changedKeys names the values that are different, as many as fit into an entry.
func changedKeys(before, after map[string]string) string {
	all := maps.Clone(after)
	for id := range before {
		all[id] = after[id]
	}
	maps.DeleteFunc(all, func(id, text string) bool { return before[id] == text })
	const longest = 900
	text := strings.Join(slices.Sorted(maps.Keys(all)), " ")
	return text[:min(len(text), longest)]
}

// Sheet is what a file with translations would change.
type Sheet struct {
	Changes []enx.Change
	// Versions are what it was held against, for [Staff.ImportTranslations].
	Versions map[string]int
}

// examine tells what a file would change. Its errors are those of
// [enx.Config.ReadTranslations].
func (d Draft) examine(file []byte) (Sheet, error) {
	texts, err := d.Config.ReadTranslations(file)
	if err != nil {
		return Sheet{}, err
	}
	sheet := Sheet{Versions: map[string]int{}}
	for _, lang := range d.Config.Languages {
		s := Section{Step: enx.Texts, Language: lang}
		sheet.Versions[lang] = d.Saved(s).Version
		for _, slot := range s.Slots() {
			before, after := d.Config.Texts[lang][slot.ID()], texts[lang][slot.ID()]
			if after != "" && normal(slot, after) != before {
				sheet.Changes = append(sheet.Changes, enx.Change{ID: slot.ID(), Label: slot.Label, Language: lang, Before: before, After: normal(slot, after)})
			}
		}
	}
	return sheet, nil
}

// importSheet saves what examine has told, of each language over the version of then.
func (d Draft) importSheet(ctx context.Context, tx *tenant.Tx, by authz.Subject, sheet Sheet, versions map[string]int, now time.Time) error {
	for _, lang := range d.Config.Languages {
		s := Section{Step: enx.Texts, Language: lang}
		before := d.Saved(s).Values
		values := maps.Clone(before)
		if values == nil {
			values = map[string]string{}
		}
		for _, c := range sheet.Changes {
			if c.Language == lang {
				values[c.ID] = c.After
			}
		}
		if maps.Equal(before, values) {
			continue
		}
		if err := save(ctx, tx, by, s, versions[lang], before, values, now); err != nil {
			return err
		}
	}
	return nil
}

const periodSQL = `
select period_seconds
  from export_config
 where path = ''
   and active_from <= $1
   and (active_thru is null or active_thru > $1)`

// facts are what a draft of tx's tenant is held against.
func (p Place) facts(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, now time.Time) (enx.Facts, error) {
	f := enx.Facts{Region: t.Region, Loopback: p.Loopback, Now: now}
	var seconds int
	err := tx.Get(ctx, &seconds, periodSQL, now.UTC())
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return f, fmt.Errorf("read export settings: %w", err)
	}
	f.Period = time.Duration(seconds) * time.Second
	handed, err := last(ctx, tx, "")
	if handed != nil {
		f.Last = &handed.Config
	}
	return f, err
}
