package member

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"carillon/authz"
	"carillon/tenant/spreadsheet"
)

var (
	// ErrRosterForm means that a file is no list of people: no text, or without the
	// columns name, email and roles.
	ErrRosterForm = errors.New("not a list of people with columns name, email and roles")
	// ErrRosterSize means that it has more than [MaxRoster] rows or [MaxRosterBytes].
	ErrRosterSize = errors.New("list is too long")
	// ErrRoster means that rows of it cannot be used, and so nobody was invited.
	ErrRoster = errors.New("list has rows that cannot be used")
)

const (
	// MaxRoster is how many people a file may name.
	MaxRoster = 1000
	// MaxRosterBytes is how long it may be.
	MaxRosterBytes = 512 << 10
)

// Roster is a file of people to invite, row by row.
type Roster struct{ Rows []RosterRow }

// RosterRow is one of them.
type RosterRow struct {
	Line int
	Invitee
	// Problems are why it cannot be used.
	Problems []RosterProblem
	// Doubts are for somebody to look at; they keep nobody from being invited.
	Doubts []RosterDoubt
	// Known is [ErrAlreadyMember] or [ErrAlreadyInvited] for whom nothing is to be done.
	Known error
}

// RosterProblem is why a row cannot be used.
type RosterProblem string

// The problems.
const (
	ProblemEncoding RosterProblem = "encoding" // not UTF-8; its letters would be wrong
	ProblemForm     RosterProblem = "form"     // quotes or columns do not fit; what follows is not read
	ProblemFormula  RosterProblem = "formula"  // a cell begins as formulas of spreadsheets do
	ProblemName     RosterProblem = "name"
	ProblemEmail    RosterProblem = "email"
	ProblemRoles    RosterProblem = "roles"   // none
	ProblemRole     RosterProblem = "role"    // one that there is not
	ProblemGrant    RosterProblem = "grant"   // one that the subject may not give
	ProblemRepeat   RosterProblem = "repeat"  // the address stands in an earlier row
	ProblemLetters  RosterProblem = "letters" // the address has letters that look like others
)

// RosterDoubt is what somebody should look at.
type RosterDoubt string

// The doubts.
const (
	// DoubtScripts: the name mixes alphabets, so that it may be read as another.
	DoubtScripts RosterDoubt = "scripts"
	// DoubtDomain: the address's domain looks like one that the staff have, and is another.
	DoubtDomain RosterDoubt = "domain"
)

// Bad reports whether any row cannot be used.
func (r Roster) Bad() bool {
	return slices.ContainsFunc(r.Rows, func(row RosterRow) bool { return len(row.Problems) > 0 })
}

// New counts the people who would be invited.
func (r Roster) New() (n int) {
	for _, row := range r.Rows {
		if len(row.Problems) == 0 && row.Known == nil {
			n++
		}
	}
	return n
}

var rosterColumns = []string{"name", "email", "roles"}

// ReadRoster reads a file in CSV: separated by commas, semicolons or tabs, in UTF-8 or,
// with a byte order mark, in UTF-16. Roles are separated by spaces or other marks within
// their cell. What is wrong with a row is said in the row.
func ReadRoster(file []byte) (Roster, error) {
	if len(file) > MaxRosterBytes {
		return Roster{}, ErrRosterSize
	}
	text, ok := spreadsheet.Text(file)
	if !ok {
		return Roster{}, ErrRosterForm
	}
	r := spreadsheet.Reader(text)
	columns, err := r.Read()
	if err != nil {
		return Roster{}, ErrRosterForm
	}
	at := map[string]int{}
	for i, name := range columns {
		at[strings.ToLower(strings.TrimSpace(name))] = i
	}
	for _, name := range rosterColumns {
		if _, found := at[name]; !found || len(columns) != len(rosterColumns) {
			return Roster{}, ErrRosterForm
		}
	}
	return readRows(r, at)
}

func readRows(r *csv.Reader, at map[string]int) (Roster, error) {
	var list Roster
	seen := map[string]bool{}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if len(list.Rows) == MaxRoster {
			return Roster{}, ErrRosterSize
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			list.Rows = append(list.Rows, RosterRow{Line: bad.StartLine, Problems: []RosterProblem{ProblemForm}})
			return list, nil
		}
		if err != nil {
			return Roster{}, ErrRosterForm
		}
		line, _ := r.FieldPos(0)
		row := RosterRow{Line: line}
		if len(cells) != len(rosterColumns) {
			row.Problems = []RosterProblem{ProblemForm}
		} else {
			row.read(cells[at["name"]], cells[at["email"]], cells[at["roles"]])
			if seen[row.Email] {
				row.Problems = append(row.Problems, ProblemRepeat)
			}
			seen[row.Email] = true
		}
		list.Rows = append(list.Rows, row)
	}
}

func (row *RosterRow) read(name, email, roles string) {
	row.Invitee = Invitee{Name: printable(name), Email: printable(email)}
	for _, r := range strings.FieldsFunc(printable(roles), separatesRoles) {
		if !slices.Contains(row.Roles, authz.Role(strings.ToLower(r))) {
			row.Roles = append(row.Roles, authz.Role(strings.ToLower(r)))
		}
	}
	problem := func(found bool, p RosterProblem) {
		if found {
			row.Problems = append(row.Problems, p)
		}
	}
	cells := name + email + roles
	if !utf8.ValidString(cells) {
		problem(true, ProblemEncoding)
		return
	}
	problem(formula(name) || formula(email) || formula(roles), ProblemFormula)
	foreign := strings.ContainsFunc(email, func(r rune) bool { return r > unicode.MaxASCII })
	problem(foreign, ProblemLetters)
	clean, err := row.clean()
	row.Name, row.Email = clean.Name, clean.Email
	problem(errors.Is(err, ErrName), ProblemName)
	problem(!foreign && (errors.Is(err, ErrEmail) || !goodEmail(clean.Email)), ProblemEmail)
	problem(len(row.Roles) == 0 || len(row.Roles) > maxRoles, ProblemRoles)
	if mixesScripts(row.Name) {
		row.Doubts = append(row.Doubts, DoubtScripts)
	}
}

func separatesRoles(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(",;|/", r) }

// printable is a cell as it can be shown.
func printable(cell string) string { return strings.ToValidUTF8(strings.TrimSpace(cell), "\uFFFD") }

// formula reports whether a spreadsheet would compute a cell instead of showing it.
func formula(cell string) bool {
	return cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0]))
}

// alphabets are those whose letters are taken for one another's.
var alphabets = []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee}

// mixesScripts reports whether a word of a name has letters of more than one of them.
func mixesScripts(name string) bool {
	for word := range strings.FieldsSeq(name) {
		used := 0
		for _, a := range alphabets {
			if strings.ContainsFunc(word, func(r rune) bool { return unicode.Is(a, r) }) {
				used++
			}
		}
		if used > 1 {
			return true
		}
	}
	return false
}

var lookAlikes = strings.NewReplacer("rn", "m", "vv", "w", "cl", "d", "0", "o", "1", "l", "i", "l", "5", "s", "-", "")

// looksLikeOther reports whether a domain is none of known, and looks like one of them.
func looksLikeOther(domain string, known map[string]bool) bool {
	if known[domain] {
		return false
	}
	shape := lookAlikes.Replace(domain)
	for other := range known {
		if lookAlikes.Replace(other) == shape {
			return true
		}
	}
	return false
}

func domainOf(address string) string {
	_, domain, _ := strings.Cut(address, "@")
	return domain
}

// CSV is the list as [ReadRoster] reads it.
func (r Roster) CSV() string {
	var text strings.Builder
	w := csv.NewWriter(&text)
	_ = w.Write(rosterColumns) // a strings.Builder takes everything
	for _, row := range r.Rows {
		_ = w.Write([]string{row.Name, row.Email, joined(row.Roles)})
	}
	w.Flush()
	return text.String()
}
