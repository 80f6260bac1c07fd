package ceremony

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// ErrPlan means that a ceremony's file makes no sense; the error says where.
var ErrPlan = errors.New("the ceremony's file makes no sense")

// Plan is what a ceremony's file says: who takes part, and what is done in which order.
type Plan struct {
	Title        string   `yaml:"title"`
	Participants []string `yaml:"participants"`
	Steps        []Step   `yaml:"steps"`

	digest string // SHA-256 of the file, hexadecimal
}

// Act is what a step does.
type Act string

// The acts.
const (
	// GenerateRoot makes a root key in a file, and splits it into shares if there are any.
	GenerateRoot Act = "generate-root"
	// RestoreRoot makes a root key's file of shares.
	RestoreRoot Act = "restore-root"
	// CheckRoot and CheckExportKey compare a fingerprint with one that a participant types.
	CheckRoot      Act = "check-root"
	CheckExportKey Act = "check-export-key"
	// MakeExportKey makes the next version of a tenant's export key, where the service keeps
	// new keys. It signs nothing until it is activated.
	MakeExportKey Act = "make-export-key"
	// BackUp copies a root key's file, and reads the copy.
	BackUp Act = "back-up-root"
	// Destroy deletes a root key's file that no tenant's data key is wrapped by.
	Destroy Act = "destroy-root"
	// ByHand is done by people, who say that they have done it.
	ByHand Act = "by-hand"
)

// Step is one step. Which fields it has follows from what it does.
type Step struct {
	Do Act `yaml:"do"`
	// File is a root key's file, To where its copy goes.
	File string `yaml:"file"`
	To   string `yaml:"to"`
	// Shares are files of shares, each on a medium of its own; Need is how many of them
	// together are the key: 2 or more.
	Shares []string `yaml:"shares"`
	Need   int      `yaml:"need"`
	// Tenant is a health authority's slug, Version the number of its key's version.
	Tenant  string `yaml:"tenant"`
	Version int    `yaml:"version"`
	// Text says what people do by hand.
	Text string `yaml:"text"`
}

const (
	maxPlan   = 64 << 10 // bytes
	maxSteps  = 50
	maxShares = 16
	maxText   = 1000
)

var slug = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)

// ReadPlan reads a ceremony's file, strictly: [ErrPlan].
func ReadPlan(file []byte) (Plan, error) {
	var p Plan
	if len(file) > maxPlan {
		return p, fmt.Errorf("%w: it has more than %d bytes", ErrPlan, maxPlan)
	}
	if err := yaml.UnmarshalWithOptions(file, &p, yaml.Strict()); err != nil {
		return p, fmt.Errorf("%w: %s", ErrPlan, yaml.FormatError(err, false, false))
	}
	digest := sha256.Sum256(file)
	p.digest = hex.EncodeToString(digest[:])
	if err := p.validate(); err != nil {
		return p, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	return p, nil
}

func (p Plan) validate() error {
	switch {
	case !words(p.Title, 200):
		return errors.New("the title has 1 to 200 visible characters")
	case len(p.Participants) != 2:
		return errors.New("two people take part")
	case !words(p.Participants[0], 100) || !words(p.Participants[1], 100):
		return errors.New("a participant's name has 1 to 100 visible characters")
	case strings.EqualFold(strings.TrimSpace(p.Participants[0]), strings.TrimSpace(p.Participants[1])):
		return errors.New("the participants are two people with two names")
	case len(p.Steps) == 0 || len(p.Steps) > maxSteps:
		return fmt.Errorf("there are 1 to %d steps", maxSteps)
	}
	for i, s := range p.Steps {
		if err := s.validate(); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.Do, err)
		}
	}
	return nil
}

func words(text string, most int) bool {
	n := utf8.RuneCountInString(text)
	return utf8.ValidString(text) && n >= 1 && n <= most && strings.TrimSpace(text) != "" &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// validate checks that a step has the fields that it needs, and no others.
func (s Step) validate() error {
	want := map[Act]Step{
		GenerateRoot:   {File: s.File, Shares: s.Shares, Need: s.Need},
		RestoreRoot:    {File: s.File, Shares: s.Shares},
		CheckRoot:      {File: s.File},
		BackUp:         {File: s.File, To: s.To},
		Destroy:        {File: s.File},
		MakeExportKey:  {Tenant: s.Tenant},
		CheckExportKey: {Tenant: s.Tenant, Version: s.Version},
		ByHand:         {Text: s.Text},
	}
	w, known := want[s.Do]
	w.Do = s.Do
	switch {
	case !known:
		return errors.New("there is no such act")
	case !reflect.DeepEqual(w, s):
		return errors.New("it has a field that says nothing about it")
	case s.Do == ByHand && !words(s.Text, maxText):
		return fmt.Errorf("text has 1 to %d visible characters", maxText)
	case (s.Do == MakeExportKey || s.Do == CheckExportKey) && !slug.MatchString(s.Tenant):
		return errors.New("tenant is a health authority's name in URLs")
	case s.Do == CheckExportKey && s.Version < 1:
		return errors.New("version is the number of the key's version")
	}
	return s.validateFiles()
}

func (s Step) validateFiles() error {
	paths := s.paths()
	seen := map[string]bool{}
	for _, path := range paths {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || seen[path] {
			return fmt.Errorf("%q: files are named by absolute paths, each once", path)
		}
		seen[path] = true
	}
	switch s.Do { //nolint:exhaustive // the others have no files
	case GenerateRoot:
		shares := len(s.Shares)
		if s.File == "" || shares > maxShares || (shares == 0) != (s.Need == 0) || shares > 0 && (s.Need < 2 || s.Need > shares) {
			return fmt.Errorf("file is where the key goes; of up to %d shares 2 or more are needed", maxShares)
		}
	case RestoreRoot:
		if s.File == "" || len(s.Shares) < 2 || len(s.Shares) > maxShares {
			return errors.New("file is where the key goes, shares are two files or more")
		}
	case BackUp:
		if s.File == "" || s.To == "" {
			return errors.New("file is the key, to is where its copy goes")
		}
	case CheckRoot, Destroy:
		if s.File == "" {
			return errors.New("file is the key")
		}
	}
	return nil
}

func (s Step) paths() []string {
	var list []string
	for _, path := range append([]string{s.File, s.To}, s.Shares...) {
		if path != "" {
			list = append(list, path)
		}
	}
	return list
}

// String says what a step does, for the terminal and the transcript.
func (s Step) String() string {
	switch s.Do {
	case GenerateRoot:
		if len(s.Shares) == 0 {
			return "make a root key in " + s.File
		}
		return fmt.Sprintf("make a root key in %s, and %d shares of it, of which %d are the key: %s", s.File, len(s.Shares), s.Need, strings.Join(s.Shares, ", "))
	case RestoreRoot:
		return "make the root key's file " + s.File + " of the shares " + strings.Join(s.Shares, ", ")
	case CheckRoot:
		return "compare the fingerprint of the root key in " + s.File
	case CheckExportKey:
		return fmt.Sprintf("compare the fingerprint of version %d of the export key of %s", s.Version, s.Tenant)
	case MakeExportKey:
		return "make the next version of the export key of " + s.Tenant
	case BackUp:
		return "copy the root key's file " + s.File + " to " + s.To
	case Destroy:
		return "destroy the root key's file " + s.File
	case ByHand:
		return s.Text
	}
	return string(s.Do)
}
