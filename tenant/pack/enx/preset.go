package enx

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
)

// Preset is a set of risk settings that others have tried (sections 1.5 and 1.11).
type Preset struct {
	// ID names it in forms.
	ID, Label string
	// Values are what it sets.
	Values map[string]string
}

// Presets lists them, the newest first. All leave the day of onset that is not known at
// standard infectiousness.
func Presets() []Preset {
	distance := func(thresholds, weights [3]string, standard, days string) map[string]string {
		return map[string]string{
			"attenuationImmediateNearThreshold": thresholds[0], "attenuationNearMedThreshold": thresholds[1], "attenuationMedFarThreshold": thresholds[2],
			"attenuationImmediateWeight": weights[0], "attenuationNearWeight": weights[1], "attenuationMedWeight": weights[2], "attenuationOtherWeight": "0",
			"infectiousnessStandardWeight": standard, "infectiousnessHighWeight": strconv.Itoa(high(standard)), "symptomOnsetToInfectiousnessMap": days,
		}
	}
	return []Preset{
		{"narrow-v2", "Narrow net, version 2 (autumn 2021)", distance([3]string{"55", "67", "75"}, [3]string{"175", "100", "33"}, "30", "0x0400005AAA500000")},
		{"wide", "Wide net", distance([3]string{"55", "70", "80"}, [3]string{"200", "100", "25"}, "60", "0x0400556AAA940000")},
		{"narrower-v1", "Narrower net, version 1 (November 2020; later judged too narrow)", distance([3]string{"55", "63", "70"}, [3]string{"150", "100", "40"}, "30", "0x0400001AAA400000")},
	}
}

// high is the weight of high infectiousness that goes with one of standard infectiousness.
func high(standard string) int {
	if standard == "60" {
		return 200
	}
	return 100
}

// Apply puts a preset's values into others, and reports whether there is one of this name.
func Apply(preset string, values map[string]string) bool {
	for _, p := range Presets() {
		if p.ID == preset {
			maps.Copy(values, p.Values)
			return true
		}
	}
	return false
}

var daysForm = regexp.MustCompile(`^0x[0-9A-F]{16}$`)

// Infectiousness is what a map says of a day.
type Infectiousness int

// The levels.
const (
	Dropped Infectiousness = iota
	Standard
	High
)

// DayMap is a map of infectiousness read out.
type DayMap struct {
	// Days are those from -14 to +14 from onset.
	Days [2*maxDays + 1]Infectiousness
	// Unknown is for keys whose day of onset is not known.
	Unknown Infectiousness
}

// ParseDays reads a map: pairs of bits, that of day -14 the least significant, after that
// of day +14 the one of an unknown onset, then none (section 1.5).
func ParseDays(text string) (DayMap, error) {
	var m DayMap
	if !daysForm.MatchString(text) {
		return m, fmt.Errorf("%q is not 0x and 16 hexadecimal digits in capitals", text)
	}
	bits, err := strconv.ParseUint(text[2:], 16, 64)
	if err != nil {
		return m, err
	}
	const known, used = len(m.Days), len(m.Days) + 1
	if bits>>(2*used) != 0 {
		return m, fmt.Errorf("%s says something of days that there are not", text)
	}
	for i := range used {
		level := Infectiousness(bits >> (2 * i) & 3)
		switch {
		case level > High:
			return m, fmt.Errorf("%s has bits that mean nothing at day %+d", text, i-maxDays)
		case i < known:
			m.Days[i] = level
		default:
			m.Unknown = level
		}
	}
	return m, nil
}

// String lists days of each level: "standard -4, -3; high -2 to +3; unknown onset standard".
func (m DayMap) String() string {
	return "standard " + m.span(Standard) + "; high " + m.span(High) + "; unknown onset " + [...]string{"dropped", "standard", "high"}[m.Unknown]
}

func (m DayMap) span(level Infectiousness) string {
	text := ""
	for i := 0; i < len(m.Days); i++ {
		if m.Days[i] != level {
			continue
		}
		from := i
		for i+1 < len(m.Days) && m.Days[i+1] == level {
			i++
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%+d", from-maxDays)
		if i > from {
			text += fmt.Sprintf(" to %+d", i-maxDays)
		}
	}
	if text == "" {
		return "never"
	}
	return text
}
