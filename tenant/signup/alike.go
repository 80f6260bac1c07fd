package signup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"carillon/tenant"
)

// Concern is why an operator should look twice.
type Concern string

// The concerns.
const (
	// RegionTaken, SlugTaken and IDTaken mean that a tenant has the name: approval would
	// fail.
	RegionTaken Concern = "region-taken"
	SlugTaken   Concern = "slug-taken"
	IDTaken     Concern = "id-taken"
	// RegionSought and DomainSought mean that another application is for the same.
	RegionSought Concern = "region-sought"
	DomainSought Concern = "domain-sought"
	// NameAlike means that a tenant or another application is called nearly the same.
	NameAlike Concern = "name-alike"
	// MixedScripts means that a word has letters of several alphabets.
	MixedScripts Concern = "mixed-scripts"
	// Foreign means a domain that is not written in ASCII: the text is as people read it.
	Foreign Concern = "foreign-domain"
	// FreeMail means a domain at which anybody gets an address.
	FreeMail Concern = "free-mail"
	// OtherMail means that the applicant's address is not on the domain.
	OtherMail Concern = "other-mail"
)

// Warning is a concern, and what it is about.
type Warning struct {
	Concern Concern
	// About is the name, slug, word or domain in question.
	About string
}

// known is what names there are.
type known struct {
	Tenants []struct {
		Slug, Name, Region string
		ID                 string `db:"health_authority_id"`
	}
	Others []struct{ Name, Region, Domain string }
}

const (
	tenantsSQL = `
  select slug, name, region, health_authority_id
    from tenant_directory
   where kind = 'production'
   limit 20000`

	othersSQL = `
  select authority_name as name, region, domain
    from application
   where application_id <> $1
     and state in ('waiting', 'asked', 'approved')
   limit 20000`
)

func readKnown(ctx context.Context, tx *tenant.Tx, but uuid.UUID) (k known, err error) {
	if err = tx.Select(ctx, &k.Tenants, tenantsSQL); err == nil {
		err = tx.Select(ctx, &k.Others, othersSQL, but)
	}
	return k, err
}

// warn lists what there is to look at.
func (k known) warn(a *Application, p Terms) []Warning {
	var list []Warning
	add := func(when bool, c Concern, about string) {
		if w := (Warning{c, about}); when && !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	d := a.Details
	name := skeleton(d.Name)
	for _, t := range k.Tenants {
		add(t.Region == d.Region, RegionTaken, t.Slug)
		add(t.Slug == p.Slug, SlugTaken, t.Slug)
		add(t.ID == p.HealthAuthorityID, IDTaken, t.Slug)
		add(alike(name, skeleton(t.Name)), NameAlike, t.Name)
	}
	for _, o := range k.Others {
		add(o.Region == d.Region, RegionSought, o.Name)
		add(o.Domain == d.Domain, DomainSought, o.Name)
		add(alike(name, skeleton(o.Name)), NameAlike, o.Name)
	}
	readable := Readable(d.Domain)
	for _, word := range mixed(d.Name + " " + d.ContactName + " " + strings.ReplaceAll(readable, ".", " ")) {
		add(true, MixedScripts, word)
	}
	add(readable != d.Domain, Foreign, readable)
	add(slices.Contains(freeMail, d.Domain), FreeMail, d.Domain)
	add(!strings.HasSuffix(a.Email, "@"+d.Domain) && !strings.HasSuffix(a.Email, "."+d.Domain), OtherMail, a.Email)
	return list
}

// freeMail are domains at which anybody gets an address: a letter there proves nothing.
var freeMail = []string{
	"aol.com", "fastmail.com", "gmail.com", "gmx.com", "gmx.de", "gmx.net", "googlemail.com", "hotmail.com", "icloud.com",
	"live.com", "mail.com", "mail.ru", "me.com", "msn.com", "outlook.com", "proton.me", "protonmail.com", "qq.com",
	"tutanota.com", "web.de", "yahoo.com", "yandex.com", "yandex.ru", "zoho.com", "163.com",
}

// lookalikes are letters that look like ASCII ones in most typefaces, folded: the
// commonest of the confusables of Unicode Technical Standard 39.
var lookalikes = strings.NewReplacer(
	// Cyrillic
	"а", "a", "в", "b", "с", "c", "ԁ", "d", "е", "e", "ё", "e", "һ", "h", "н", "h", "і", "i", "ї", "i", "ј", "j", "к", "k", "ӏ", "l",
	"м", "m", "о", "o", "р", "p", "ԛ", "q", "ѕ", "s", "т", "t", "у", "y", "ү", "y", "ԝ", "w", "х", "x", "ь", "b",
	// Greek
	"α", "a", "β", "b", "ε", "e", "η", "n", "ι", "i", "κ", "k", "μ", "m", "ν", "v", "ο", "o", "ρ", "p", "σ", "o", "τ", "t", "υ", "u", "χ", "x", "ω", "w",
	// Armenian
	"ո", "n", "ս", "u", "օ", "o", "ա", "w", "հ", "h", "ց", "g", "զ", "q",
	// Latin
	"ı", "i", "ł", "l", "ø", "o", "ß", "ss", "æ", "ae", "œ", "oe", "đ", "d", "ħ", "h", "ɑ", "a", "ɡ", "g", "ʟ", "l",
	"0", "o", "1", "l", "rn", "m", "vv", "w", "cl", "d",
)

// skeleton is what a name looks like: names with one skeleton are easily taken for each
// other.
func skeleton(name string) string {
	folded := norm.NFKD.String(cases.Fold().String(norm.NFKC.String(name)))
	bare := strings.Map(func(c rune) rune {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return -1
		}
		return c
	}, folded)
	// Twice, for what two letters look like once each of them is folded.
	return lookalikes.Replace(lookalikes.Replace(bare))
}

// perEdit is how many letters two names must have for each one in which they may differ
// and still be alike.
const perEdit = 12

func alike(a, b string) bool {
	x, y := []rune(a), []rune(b)
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	bound := max(1, max(len(x), len(y))/perEdit)
	if len(x)-len(y) > bound || len(y)-len(x) > bound {
		return false
	}
	return distance(x, y) <= bound
}

// distance is how many letters must be put in, left out or changed (Levenshtein).
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			cost := diagonal
			if x != y {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// alphabets that are mixed only to deceive.
var alphabets = []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Hebrew, unicode.Arabic, unicode.Georgian}

// mixed lists the words of a text that have letters of more than one alphabet.
func mixed(text string) []string {
	var list []string
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsMark(c) }) {
		n := 0
		for _, alphabet := range alphabets {
			if strings.ContainsFunc(word, func(c rune) bool { return unicode.Is(alphabet, c) }) {
				n++
			}
		}
		if n > 1 {
			list = append(list, word)
		}
	}
	return list
}

// String gives the concern and what it is about.
func (w Warning) String() string { return fmt.Sprintf("%s: %s", w.Concern, w.About) }
