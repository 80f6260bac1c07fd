package verification

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/certificate"
)

func TestWindow(t *testing.T) {
	t.Parallel()
	// 10:00 UTC: the date has turned where clocks are 14 hours ahead, not where they are 13.
	at := time.Date(2026, 3, 10, 10, 0, 0, 0, time.UTC)
	cases := []struct {
		name   string
		offset float64
		date   date
		inside bool
	}{
		{"none", 0, "", true},
		{"today", 0, "2026-03-10", true},
		{"tomorrow", 0, "2026-03-11", false},
		{"oldest", 0, "2026-02-10", true},
		{"too old", 0, "2026-02-09", false},
		{"west, a day more", -1, "2026-02-09", true},
		{"west, two days more", -1, "2026-02-08", false},
		{"far west, still a day", -720, "2026-02-08", false},
		{"west, tomorrow", -720, "2026-03-11", false},
		{"half a minute west is no offset", -0.5, "2026-02-09", false},
		{"a minute and a half west", -1.5, "2026-02-09", true},
		{"east, where it is tomorrow", 840, "2026-03-11", true},
		{"east, where it is still today", 839, "2026-03-11", false},
		{"east, the day after tomorrow", 840, "2026-03-12", false},
		{"east of every place", 1e300, "2026-03-12", false},
		{"west of every place", -1e300, "2026-02-08", false},
		{"half a minute east is no offset", 0.5, "2026-03-11", false},
		{"east does not reach further back", 840, "2026-02-09", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := newWindow(at, c.offset).refuse("test date", c.date)
			if c.inside != (err == nil) {
				t.Errorf("%s with offset %v: %v, want inside %t", c.date, c.offset, err, c.inside)
			}
			if err != nil && !errors.Is(err, ErrInvalidDate) {
				t.Errorf("refused with %v, want ErrInvalidDate", err)
			}
		})
	}
}

// The printed bounds are UTC's, whatever the offset (§4.2).
func TestWindowText(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 10, 23, 59, 59, 0, time.UTC)
	for _, offset := range []float64{-600, 0, 600} {
		err := newWindow(at, offset).refuse("symptom onset date", "2020-01-01")
		var p *Problem
		if !errors.As(err, &p) {
			t.Fatalf("refuse: %v, want a Problem", err)
		}
		const want = "symptom onset date must be on/after 2026-02-10 and on/before 2026-03-10. Received 2020-01-01"
		if p.Text != want {
			t.Errorf("offset %v: text %q, want %q", offset, p.Text, want)
		}
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "2024-02-29", "0001-01-01"} {
		if got, err := parseDate(good); err != nil || string(got) != good {
			t.Errorf("parseDate(%q) = %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{"2023-02-29", "2026-3-1", "20260301", "2026-03-01T00:00:00Z", " 2026-03-01", "10000-01-01", "x"} {
		if got, err := parseDate(bad); err == nil {
			t.Errorf("parseDate(%q) = %q, want an error", bad, got)
		}
	}
}

func TestParseUUID(t *testing.T) {
	t.Parallel()
	const want = "0b4ab9ff-17d3-4a43-9a4a-5a5bcb3a7e11"
	good := []string{
		want, strings.ToUpper(want), strings.ReplaceAll(want, "-", ""), "{" + want + "}",
		" " + want + "\t\r\n", "\x00" + want + "\u200b",
	}
	for _, text := range good {
		if got, err := parseUUID(trimUUID(text)); err != nil || got.String() != want {
			t.Errorf("parseUUID(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
	bad := []string{
		"1", "urn:uuid:" + want, "{" + want, want + "}", "(" + want + ")", want + "0",
		strings.Replace(want, "0b", "0x", 1), strings.Replace(want, "-", "_", 1), want[:35] + "é",
	}
	for _, text := range bad {
		if got, err := parseUUID(trimUUID(text)); err == nil {
			t.Errorf("parseUUID(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParseUUID(f *testing.F) {
	f.Add("{0b4ab9ff-17d3-4a43-9a4a-5a5bcb3a7e11}")
	f.Add("0B4AB9FF17D34A439A4A5A5BCB3A7E11")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := parseUUID(text)
		if err != nil {
			return
		}
		squeezed := strings.ToLower(strings.NewReplacer("-", "", "{", "", "}", "").Replace(text))
		if want := strings.ReplaceAll(id.String(), "-", ""); squeezed != want {
			t.Errorf("parseUUID(%q) = %v, which has other digits", text, id)
		}
	})
}

// The table of §1.1; a list stands for the union of its elements.
func TestAcceptable(t *testing.T) {
	t.Parallel()
	const (
		confirmed, likely    = certificate.Confirmed, certificate.Likely
		negative, userReport = certificate.Negative, certificate.UserReport
	)
	cases := []struct {
		elements []string
		want     []certificate.ReportType
	}{
		{nil, nil},
		{[]string{}, nil},
		{[]string{"confirmed"}, []certificate.ReportType{confirmed}},
		{[]string{"likely"}, []certificate.ReportType{confirmed, likely}},
		{[]string{"negative"}, []certificate.ReportType{confirmed, likely, negative}},
		{[]string{"user-report"}, []certificate.ReportType{confirmed, userReport}},
		{[]string{"Likely", "USER-REPORT"}, []certificate.ReportType{confirmed, likely, userReport}},
		{slices.Repeat([]string{"negative"}, 5000), []certificate.ReportType{confirmed, likely, negative}},
	}
	for _, c := range cases {
		got, err := acceptable(c.elements)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("acceptable(%v): %v, (-want +got)\n%s", c.elements[:min(len(c.elements), 3)], err, diff)
		}
	}
	for _, bad := range []string{"", "positive", " confirmed"} {
		_, err := acceptable([]string{"confirmed", bad})
		var p *Problem
		if !errors.As(err, &p) || !errors.Is(err, ErrInvalidTestType) || p.Text != "invalid accepted test type: "+bad {
			t.Errorf("acceptable(%q): %#v, want ErrInvalidTestType", bad, err)
		}
	}
}
