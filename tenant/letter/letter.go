// Package letter writes what people of health authorities are sent by e-mail, in the
// authority's language and time zone.
//
// A letter is one file for each language: the subject, an empty line and the text, with
// the marks of package text/template. A test holds the languages to the same letters, and
// each letter to what its reader must know. Who sends a letter, and when, is not decided here.
package letter

import (
	"embed"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"time"

	"golang.org/x/text/language"

	"carillon/tenant"
	"carillon/tenant/mail"
)

// Contents are what a letter tells, beside its words.
type Contents interface {
	// file is the name of the letter's file, without its ending.
	file() string
}

// Invitation invites somebody to the staff.
type Invitation struct {
	Link    string
	Expires time.Time
	// Own is the authority's own text; empty for ours. Its marks are the reference's
	// (verification protocol §11.1).
	Own string
}

// Words are the authority's, with the marks filled in. What stands in for one mark is not
// searched for the other.
func (i Invitation) Words(authority string) string {
	return strings.NewReplacer("[invitelink]", i.Link, "[realmname]", authority).Replace(i.Own)
}

// Decision tells somebody that an act waits for a second person.
type Decision struct {
	Page  string
	Until time.Time
}

// Alert tells that a figure was beyond a bound. Day is a date in UTC.
type Alert struct {
	// Figure is one of those of package alert.
	Figure             string
	Value, Threshold   int
	Day                time.Time
	Statistics, Alerts string
}

// Keys tells that keys need attention.
type Keys struct {
	Alarms []Alarm
	Page   string
}

// Alarm is one reason. Purpose is one of package signing, Kind one of package custody.
type Alarm struct {
	Purpose, Kind string
	Since         time.Time
}

// Leaving tells owners that their authority will be erased.
type Leaving struct {
	Closes, Erases time.Time
	Page           string
}

// Erased tells that an authority's data is gone. Statement is the signed certificate.
type Erased struct{ Statement string }

func (Invitation) file() string { return "invitation" }
func (Decision) file() string   { return "decision" }
func (Alert) file() string      { return "alert" }
func (Keys) file() string       { return "keys" }
func (Leaving) file() string    { return "leaving" }
func (Erased) file() string     { return "erased" }

// Reader is whom letters are for.
type Reader struct {
	// Authority is the reader's, as letters name it, in one line.
	Authority string
	// Language is the authority's; one that has no letters reads English.
	Language string
	// Zone is the authority's; nil is UTC.
	Zone *time.Location
}

// Of is the reader of a tenant.
func Of(t *tenant.Tenant) Reader {
	zone, err := time.LoadLocation(t.Settings.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	return Reader{Authority: strings.Join(strings.Fields(t.Name), " "), Language: t.Settings.Language, Zone: zone}
}

//go:embed en/*.txt es/*.txt
var files embed.FS

// Languages are those that have letters; the first stands in for others.
func Languages() []string { return []string{"en", "es"} }

// Write writes a letter to an address.
func (r Reader) Write(to string, c Contents) (mail.Letter, error) {
	in := r.edition()
	text, err := files.ReadFile(in + "/" + c.file() + ".txt")
	if err != nil {
		return mail.Letter{}, fmt.Errorf("letter: %w", err)
	}
	words, err := template.New(c.file()).Option("missingkey=error").Funcs(r.functions(in)).Parse(string(text))
	if err != nil {
		return mail.Letter{}, fmt.Errorf("letter: %w", err)
	}
	var written strings.Builder
	if err := words.Execute(&written, c); err != nil {
		return mail.Letter{}, fmt.Errorf("letter: %w", err)
	}
	subject, body, found := strings.Cut(written.String(), "\n\n")
	if !found || strings.Contains(subject, "\n") {
		return mail.Letter{}, errNoSubject
	}
	return mail.Letter{To: to, Subject: subject, Text: body}, nil
}

var errNoSubject = errors.New("a letter has a subject of one line, and an empty line after it")

// edition is the language of the files for a reader.
func (r Reader) edition() string {
	var tags []language.Tag
	for _, l := range Languages() {
		tags = append(tags, language.MustParse(l))
	}
	own, err := language.Parse(r.Language)
	if err != nil {
		return Languages()[0]
	}
	_, at, _ := language.NewMatcher(tags).Match(own)
	return Languages()[at]
}

func (r Reader) functions(in string) template.FuncMap {
	return template.FuncMap{
		"authority": func() string { return r.Authority },
		"day":       func(t time.Time) string { return date(in, t) },
		"moment":    func(t time.Time) string { return r.moment(in, t) },
	}
}

// moment is a time in the reader's zone, with UTC beside it where that is another.
func (r Reader) moment(in string, t time.Time) string {
	utc := t.UTC().Format("15:04 UTC")
	if r.Zone == nil || r.Zone == time.UTC {
		return date(in, t.UTC()) + ", " + utc
	}
	t = t.In(r.Zone)
	if name, _ := t.Zone(); name == "UTC" {
		return date(in, t) + ", " + utc
	}
	return date(in, t) + ", " + t.Format("15:04 MST") + " (" + utc + ")"
}

// months are those of languages that package time does not write.
var months = map[string][]string{
	"es": {"enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"},
}

func date(in string, t time.Time) string {
	if in == "es" {
		return fmt.Sprintf("%d de %s de %d", t.Day(), months[in][t.Month()-1], t.Year())
	}
	return t.Format("January 2, 2006")
}
