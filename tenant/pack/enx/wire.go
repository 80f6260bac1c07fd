package enx

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wire renders values in a platform's form.
type wire struct {
	config Config
	region string
	// seconds: thresholds are in seconds, not in minutes.
	seconds bool
}

// Apple is the configuration as Apple takes it: all keys that it delivers, those of
// languages with their suffixes. A value that cannot be sent is an error; after [Check]
// there is none.
func Apple(c Config, region string) (map[string]any, error) {
	return wire{config: c, region: region}.all(func(s Slot) bool { return s.Apple >= InFiles })
}

// AppleChanges is what the change call sends to bring before to after: the values that
// are different, of the keys that Apple's table has, the others being refused. The key
// and its version are not among them: Apple takes these from whoever registers a key.
func AppleChanges(before, after Config, region string) (map[string]any, error) {
	is, err := listed(after, region)
	if err != nil {
		return nil, err
	}
	was, err := listed(before, region)
	if err != nil {
		return nil, err
	}
	for name, value := range was {
		if same(value, is[name]) {
			delete(is, name)
		}
	}
	return is, nil
}

func listed(c Config, region string) (map[string]any, error) {
	return wire{config: c, region: region}.all(func(s Slot) bool { return s.Apple == Listed })
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Google is the configuration as Google takes it: {"config": …}, thresholds in seconds.
func Google(c Config, region string) (map[string]any, error) {
	config, err := wire{config: c, region: region, seconds: true}.all(func(s Slot) bool { return s.Google })
	return map[string]any{"config": config}, err
}

// all renders the slots that want keeps.
func (w wire) all(want func(Slot) bool) (map[string]any, error) {
	values := map[string]any{}
	for _, s := range Slots() {
		if !want(s) || !w.config.used(s) {
			continue
		}
		for _, lang := range w.config.tongues(s) {
			text := w.config.Value(s, lang)
			if text == "" {
				continue
			}
			value, err := w.value(s, text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.ID(), err)
			}
			suffix := ""
			if s.Local {
				if suffix, err = Suffix(lang, w.region); err != nil {
					return nil, err
				}
			}
			values[s.ID()+suffix] = value
		}
	}
	return values, nil
}

func (w wire) value(s Slot, text string) (any, error) {
	switch s.Kind {
	case Number:
		n, err := strconv.Atoi(text)
		if err == nil && s.Minutes && w.seconds {
			const minute = 60
			n *= minute
		}
		return n, err
	case Flag:
		return text == "yes", nil
	case Color:
		rgb, err := ParseColor(text)
		const digits = 1000
		for i := range rgb {
			rgb[i] = math.Round(rgb[i]*digits) / digits
		}
		return rgb[:], err
	case Date:
		day, err := time.Parse(time.DateOnly, text)
		return day.Unix(), err
	case Text, URL, Days:
		return strings.ReplaceAll(text, "\r\n", "\n"), nil
	}
	return text, nil
}

// JSON writes a document with its members in the order of their names, for people and
// programs: equal documents have equal bytes.
func JSON(document any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(document); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Place is where Apple has a region: the country, and the state within it, if there is
// one. Full is the whole code.
type Place struct{ Country, State, Full string }

// PlaceOf takes an ISO 3166 code apart.
func PlaceOf(region string) Place {
	country, state, _ := strings.Cut(region, "-")
	return Place{Country: country, State: state, Full: region}
}

// Override is the file for single iPhones (section 3.3): what Apple's service would
// deliver, with the state's full code.
func Override(c Config, region string) (map[string]any, error) {
	config, err := Apple(c, region)
	if err != nil {
		return nil, err
	}
	place := PlaceOf(region)
	app := map[string]any{
		"countryCode": place.Country, "appBundleId": c.Values["appBundleId"],
		"publicKey": c.Values["publicKey"], "publicKeyVersion": c.Values["publicKeyVersion"],
		"signAuthorityName": c.Values[authorityName], "config": config,
	}
	subdivisions := []any{}
	if place.State != "" {
		app["state"] = place.Full
		subdivisions = append(subdivisions, place.Full)
	}
	return map[string]any{"subdivisions": subdivisions, "appConfigs": []any{app}}, nil
}

// AuthorityName is the name that Apple has registered, and that the change call signs.
func (c Config) AuthorityName() string { return c.Values[authorityName] }

// Form is the sheet for Apple's web form, in its order: label, language, key, value. What
// has no place there and must be told stands at its end.
func (c Config) Form() ([]byte, error) {
	rows := [][]string{{"Label in Apple's form", "Language", "Key", "Value", "Limit in characters"}}
	var told [][]string
	for _, s := range Slots() {
		if s.Apple == Never || !c.used(s) {
			continue
		}
		for _, lang := range c.tongues(s) {
			row := []string{s.Label, lang, s.ID(), c.Value(s, lang), limitText(s.Key)}
			switch {
			case s.Apple == Listed:
				rows = append(rows, row)
			case row[3] != "":
				row[0] += " (not in the form: tell Apple)"
				told = append(told, row)
			}
		}
	}
	return writeCSV(slices.Concat(rows, told))
}

func limitText(k Key) string {
	if k.Limit == 0 {
		return ""
	}
	return strconv.Itoa(k.Limit)
}

// writeCSV writes rows so that no spreadsheet takes a cell for a formula.
func writeCSV(rows [][]string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = shield(cell)
		}
		if err := w.Write(row); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}
