package enx

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rivo/uniseg"
)

// Problem is something that keeps a configuration from being handed over.
type Problem struct {
	Step Step
	// Slot is the ID of the slot to put right, empty if it is none; Language that of its
	// value.
	Slot, Language string
	// Text is a sentence for people.
	Text string
	// Advice: it keeps nothing from being done.
	Advice bool
}

// Facts are what a configuration is held against.
type Facts struct {
	// Region is the ISO 3166 code, as US-WA.
	Region string
	// Period is how often exports are made; zero if none are.
	Period time.Duration
	// KeyVersion is what exports call their newest key, and what publicKeyVersion must
	// say; empty while that is not known.
	KeyVersion string
	// Last is the configuration that was handed over last; nil if none was.
	Last *Config
	// Loopback lets addresses of this machine in, without encryption, for development.
	Loopback bool
	// Now is the present time.
	Now time.Time
}

// Length counts the characters of a text as people see them: a letter with its accents,
// and a flag of two letters, are one.
func Length(text string) int { return uniseg.GraphemeClusterCount(text) }

// checker collects problems.
type checker struct {
	c        Config
	facts    Facts
	problems []Problem
}

// Check lists what is wrong with a configuration, in the order of Apple's form. What the
// service fills in is checked like the rest, if it is there.
func Check(c Config, f Facts) []Problem {
	k := &checker{c: c, facts: f}
	k.languages()
	for _, s := range Slots() {
		if !c.used(s) {
			continue
		}
		for _, lang := range c.tongues(s) {
			k.value(s, lang)
		}
	}
	k.thresholds()
	k.classes()
	k.contrast()
	k.interval()
	k.server()
	k.succession()
	return k.problems
}

// CheckStep lists what is wrong with a step; of the step with texts, with a language.
func CheckStep(c Config, f Facts, step Step, lang string) []Problem {
	return slices.DeleteFunc(Check(c, f), func(p Problem) bool {
		return p.Step != step || step == Texts && p.Language != lang
	})
}

// Ready reports whether none of the problems keeps a pack from being made.
func Ready(problems []Problem) bool {
	return !slices.ContainsFunc(problems, func(p Problem) bool { return !p.Advice })
}

func (k *checker) fault(s Slot, lang, format string, args ...any) {
	k.problems = append(k.problems, Problem{Step: s.Step, Slot: s.ID(), Language: lang, Text: fmt.Sprintf(format, args...)})
}

// at is fault for a slot by its ID.
func (k *checker) at(id, format string, args ...any) {
	if s, found := find(id); found {
		k.fault(s, "", format, args...)
	}
}

func (k *checker) advise(id, format string, args ...any) {
	k.at(id, format, args...)
	k.problems[len(k.problems)-1].Advice = true
}

func (k *checker) languages() {
	_, err := ParseLanguages(strings.Join(k.c.Languages, ","), k.facts.Region)
	if err != nil {
		k.problems = append(k.problems, Problem{Step: Region, Slot: "languages", Text: err.Error()})
	}
}

// value checks one value by what the table says of its key.
func (k *checker) value(s Slot, lang string) {
	text := k.c.Value(s, lang)
	if strings.TrimSpace(text) == "" {
		k.missing(s, lang)
		return
	}
	if why := Form(s.Key, text, k.facts.Loopback); why != "" {
		k.fault(s, lang, "%s", why)
	}
}

// missing complains of an empty value that must not be: one that is required, or that the
// default language has.
func (k *checker) missing(s Slot, lang string) {
	switch {
	case s.Step == Filled && s.Required && k.facts.KeyVersion == "" && (s.Name == "publicKey" || s.Name == "publicKeyVersion"):
		// It comes with the pack.
	case s.Required:
		k.fault(s, lang, "This is missing.")
	case s.Local && lang != k.c.Default() && strings.TrimSpace(k.c.Value(s, k.c.Default())) != "":
		k.fault(s, lang, "The default language has this, so every language must.")
	}
}

// Form says what is wrong with a text that is not empty as a value of a key, empty if
// nothing is. loopback is as in [Facts].
func Form(key Key, text string, loopback bool) string {
	if key.Limit > 0 && Length(text) > key.Limit {
		return fmt.Sprintf("This has %d characters and may have %d.", Length(text), key.Limit)
	}
	switch key.Kind {
	case Text:
		if strings.ContainsFunc(text, func(r rune) bool {
			return r == unicode.ReplacementChar || unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
		}) {
			return "This has characters that cannot be shown."
		}
	case URL:
		return urlForm(text, loopback)
	case Number:
		n, err := strconv.Atoi(text)
		if err != nil || n < key.Min || n > key.Max {
			return fmt.Sprintf("Enter a whole number from %d to %d.", key.Min, key.Max)
		}
	case Flag:
		if text != "yes" && text != "no" {
			return "Choose yes or no."
		}
	case Color:
		if _, err := ParseColor(text); err != nil {
			return "Enter a color as # and six hexadecimal digits, such as #1a4480."
		}
	case Date:
		if _, err := time.Parse(time.DateOnly, text); err != nil {
			return "Enter a day as year, month and day, such as 2026-12-01."
		}
	case Days:
		if _, err := ParseDays(text); err != nil {
			return "Enter 0x and 16 hexadecimal digits in capitals, two bits for each day."
		}
	}
	return ""
}

func urlForm(text string, loopback bool) string {
	u, err := url.Parse(text)
	secure := err == nil && u.Scheme == "https"
	local := err == nil && loopback && u.Scheme == "http" && isLoopback(u.Hostname())
	if err != nil || u.Host == "" || u.User != nil || !secure && !local || strings.ContainsAny(text, " \t\r\n") {
		return "Enter a whole address that begins with https://."
	}
	return ""
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (k *checker) number(id string) int {
	s, _ := find(id)
	n, _ := strconv.Atoi(k.c.Value(s, "")) // what is no number is a problem already
	return n
}

func (k *checker) thresholds() {
	bounds := []string{"attenuationImmediateNearThreshold", "attenuationNearMedThreshold", "attenuationMedFarThreshold"}
	for i := 1; i < len(bounds); i++ {
		if k.number(bounds[i]) <= k.number(bounds[i-1]) {
			k.at(bounds[i], "Each attenuation threshold must be greater than the one before.")
		}
	}
}

// thresholdSlots are the slots with the thresholds of a class.
func thresholdSlots(no int) []Slot {
	return slices.DeleteFunc(Slots(), func(s Slot) bool { return !s.Minutes || s.No != no })
}

func (k *checker) classes() {
	names := map[string]int{}
	for no := 1; no <= k.c.ClassCount(); no++ {
		active := slices.ContainsFunc(thresholdSlots(no), func(s Slot) bool { return k.c.Value(s, "") != "0" })
		if !active {
			k.at(thresholdSlots(no)[0].ID(), "Class %d never applies: give it a threshold, or use fewer classes.", no)
		}
		id := "classificationName_" + strconv.Itoa(no)
		name := strings.ToLower(strings.TrimSpace(k.c.Values[id]))
		if other, taken := names[name]; taken && name != "" {
			k.at(id, "Class %d has this name already.", other)
		}
		names[name] = no
	}
}

func (k *checker) contrast() {
	text, errText := ParseColor(k.c.Values["agencyHeaderTextColor"])
	ground, errGround := ParseColor(k.c.Values["agencyColor"])
	if errText != nil || errGround != nil {
		return
	}
	if ratio := Contrast(text, ground); ratio < LeastContrast {
		k.at("agencyHeaderTextColor", "The header’s text has a contrast of %.1f to 1; it needs 4.5 to 1 to be read.", ratio)
	}
}

// Intervals lists the hours between exports that Apple knows.
func Intervals() []int { return []int{2, 4, 8, 24} }

func (k *checker) interval() {
	const id = "tekPublishInterval"
	hours := k.number(id)
	interval := time.Duration(hours) * time.Hour
	switch {
	case k.c.Values[id] == "":
	case !slices.Contains(Intervals(), hours):
		k.at(id, "Choose 2, 4, 8 or 24 hours.")
	case k.facts.Period == 0:
		k.at(id, "No exports are made for phones at all.")
	case k.facts.Period > interval || interval%k.facts.Period != 0:
		k.at(id, "Exports are made every %v; choose an interval that this goes into.", k.facts.Period)
	case k.facts.Period < interval:
		k.advise(id, "Exports are made every %v, more often than phones are told.", k.facts.Period)
	}
}

// server checks what the service fills in.
func (k *checker) server() {
	const base = "tekLocalDownloadBasePath"
	if path := k.c.Values[base]; path != "" && !strings.HasSuffix(path, "/") {
		k.at(base, "The base path must end with a slash.")
	}
	if v := k.c.Values["publicKeyVersion"]; v != "" && k.facts.KeyVersion != "" && v != k.facts.KeyVersion {
		k.at("publicKeyVersion", "Exports call their key %s, not %s.", k.facts.KeyVersion, v)
	}
}

// succession holds the configuration against what was handed over last.
func (k *checker) succession() {
	last := k.facts.Last
	k.consentVersion(last)
	k.launch(last)
	if last == nil {
		return
	}
	if was := last.Values["healthAuthorityID"]; was != "" && was != k.c.Values["healthAuthorityID"] {
		k.at("healthAuthorityID", "It can never change: it was handed over as %s.", was)
	}
	for no := 1; no <= min(k.c.ClassCount(), last.ClassCount()); no++ {
		id := "classificationName_" + strconv.Itoa(no)
		moved := slices.ContainsFunc(thresholdSlots(no), func(s Slot) bool { return k.c.Value(s, "") != last.Value(s, "") })
		if moved && k.c.Values[id] == last.Values[id] {
			k.at(id, "Thresholds of class %d have changed since it was handed over, so it needs a new name.", no)
		}
	}
}

func (k *checker) launch(last *Config) {
	day, err := time.Parse(time.DateOnly, k.c.Values["goLiveDate"])
	if err == nil && last == nil && day.Before(k.facts.Now.UTC().Truncate(24*time.Hour)) {
		k.advise("goLiveDate", "This day is over.")
	}
}

func (k *checker) consentVersion(last *Config) {
	const id = "legalConsentVersion"
	now, ok := parseVersion(k.c.Values[id])
	switch {
	case k.c.Values[id] == "":
		return
	case !ok:
		k.at(id, "Enter a number, or numbers with dots between them.")
		return
	case last == nil:
		return
	}
	was, _ := parseVersion(last.Values[id])
	order := slices.Compare(now, was)
	switch {
	case order < 0:
		k.at(id, "The version can only grow: it was handed over as %s.", last.Values[id])
	case order == 0 && consentChanged(*last, k.c):
		k.at(id, "The consent text has changed since version %s was handed over, so it needs a greater one.", last.Values[id])
	}
}

// consentChanged reports whether a language has another consent text than before.
func consentChanged(last, now Config) bool {
	return slices.ContainsFunc(last.Languages, func(lang string) bool {
		text, kept := now.Texts[lang]
		return kept && text["legalConsentText"] != last.Texts[lang]["legalConsentText"]
	})
}

// parseVersion reads 2 or 2.1.0. Trailing zeros count for nothing.
func parseVersion(text string) ([]int, bool) {
	const most = 4
	parts := strings.Split(text, ".")
	if len(parts) > most {
		return nil, false
	}
	numbers := make([]int, 0, most)
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, int(n))
	}
	for len(numbers) > 1 && numbers[len(numbers)-1] == 0 {
		numbers = numbers[:len(numbers)-1]
	}
	return numbers, true
}
