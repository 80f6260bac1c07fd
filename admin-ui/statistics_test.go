package adminui_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant/stats"
)

const statisticsPath = "/portal/north-shore/statistics"

// Whoever may see statistics lands on them, and sees at a glance what the last whole days
// came to beside those before, where people are lost, and how long the rest took.
func TestStatistics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.figures.Days, w.figures.Issuers = 10, []stats.IssuerSum{{Kind: stats.ByPerson, Name: "Robin", Codes: 5}, {Kind: stats.ByKey, ID: "7", Name: "Lab", Codes: 3}, {Kind: stats.ByThemselves, Codes: 2}}
	w.signIn(analyst)
	p := w.get("/portal/north-shore/").wants(200, "How the programme does")
	if p.url.Path != statisticsPath || w.figures.Asked != 1 {
		t.Errorf("landed on %s after %d questions", p.url.Path, w.figures.Asked)
	}
	// Yesterday has 9: 9 + 8 + … + 3 = 42 of what there is each day, and 2 + 1 = 3 before.
	const issued = `Codes issued</dt><dd class="tile__value">`
	p.marks(issued + `420</dd><dd class="tile__change">1300 % more than the 30 before<`).
		marks(`Keys exported</dt><dd class="tile__value">1176<`).
		marks(`<strong>40 %</strong> (40 % before) of those issued.`).contains("Half of them within 2 hours, nine in ten within 24 hours.").
		contains("75 %").contains("67 %").contains("Counted at").
		marks(`<th scope="row" data-at="2026-11-19">Nov 19</th><td>30</td><td>27</td><td>24</td><td>12</td><td>9</td><td>6</td></tr>`).
		marks(`data-at="landline">The number is a landline. Read the code out, or ask for a mobile number.</th><td>42</td>`).
		contains("30006: the number is a landline").contains("99999: look it up").
		marks(`data-at="Robin">Robin</th><td>5</td>`).marks(`data-at="api-key Lab">API key: Lab</th><td>3</td>`).marks(`data-at="self">People themselves</th>`).
		marks(`data-at="sms">Text message</th><td>336</td><td>126</td><td>38</td>`).
		marks(`data-at="confirmed">Confirmed positive</th><td>420</td><td>168</td><td>40</td><td>126</td>`).
		contains("2 or more").lacks("held back for now")
	w.get(statisticsPath + "?period=day").marks(issued + `90</dd><dd class="tile__change">13 % more than the 80 before<`).lacks(`kind="lines"`)
	w.get(statisticsPath + "?period=today").marks(issued + "100<").lacks("before<").contains("Today is not over")
	w.get(statisticsPath + "?period=month").marks(issued + `450</dd><dd class="tile__change">none before<`).marks(`Oct 29</th><td>0</td>`).contains("1 day of this period is held back for now")
	w.get(statisticsPath + "?period=quarter").marks(`Nov 19</th><td>420</td>`).lacks("before<").contains("Numbers are kept for 91 days")
	w.get(statisticsPath+"?period=nonsense").wants(200, "How the programme does").marks(issued + "420<")
}

// Who begins today has no whole day to look at, and sees today.
func TestStatisticsOfTheFirstDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.figures.Days = 1
	w.signIn(analyst)
	const issued = `Codes issued</dt><dd class="tile__value">`
	w.get(statisticsPath).marks(issued + "10<").marks(`period=today" aria-current="page"`)
	w.get(statisticsPath + "?period=week").marks(issued + "0<").marks(`period=week" aria-current="page"`)
}

// Each figure is a file, too, with the numbers of the page.
func TestStatisticsAsFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.figures.Days, w.figures.Issuers = 3, []stats.IssuerSum{{Kind: stats.ByPerson, Name: `=HYPERLINK("x")`, Codes: 3}}
	w.signIn(analyst)
	file := func(figure, form string) string {
		return w.get(statisticsPath + "/file?period=week&figure=" + figure + "&form=" + form).body
	}
	rows, err := csv.NewReader(strings.NewReader(file("funnel", "csv"))).ReadAll()
	if err != nil || len(rows) != 8 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	want := [][]string{
		{"day", "issued", "sent", "delivered", "claimed", "certificates", "uploads"},
		{"2026-11-25", "20", "18", "16", "8", "6", "4"},
	}
	if diff := cmp.Diff(want, [][]string{rows[0], rows[7]}); diff != "" {
		t.Error(diff)
	}
	var days []struct {
		Day    string
		Issued int
	}
	if err := json.Unmarshal([]byte(file("funnel", "json")), &days); err != nil || len(days) != 7 || days[6].Day != "2026-11-25" || days[6].Issued != 20 {
		t.Errorf("%+v, %v", days, err)
	}
	if got := file("issuers", "csv"); got != "issuer,issued\n\"'=HYPERLINK(\"\"x\"\")\",3\n" {
		t.Errorf("a name that is a formula: %q", got)
	}
	p := w.get(statisticsPath + "?period=week")
	for _, name := range []string{
		"funnel", "claim-age", "onset", "types", "channels", "issuers", "failures", "provider-errors", "wrong-codes", "uploads", "exports",
	} {
		p.marks("figure=" + name + "&amp;form=csv&amp;period=week").marks("figure=" + name + "&amp;form=json&amp;period=week")
		if lines := strings.Count(file(name, "csv"), "\n"); lines < 2 {
			t.Errorf("%s has %d lines", name, lines)
		}
		if !json.Valid([]byte(file(name, "json"))) {
			t.Errorf("%s: %s", name, file(name, "json"))
		}
	}
	w.get(statisticsPath+"/file?figure=nothing&form=csv").wants(404, "Page not found")
	w.get(statisticsPath+"/file?figure=funnel&form=xml").wants(404, "Page not found")
}

// The page shows the first of many, the file has all.
func TestManyIssuers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.figures.Days = 3
	for i := range 101 {
		w.figures.Issuers = append(w.figures.Issuers, stats.IssuerSum{Kind: stats.ByPerson, Name: fmt.Sprintf("Person %03d", i), Codes: 1})
	}
	w.signIn(analyst)
	w.get(statisticsPath).contains("Person 099").lacks("Person 100").contains("The first 100 are shown.")
	if lines := strings.Count(w.get(statisticsPath+"/file?figure=issuers&form=csv").body, "\n"); lines != 102 {
		t.Errorf("%d lines, want 102", lines)
	}
}

// Without numbers the page says so, and who may not see them does not.
func TestStatisticsRefusedAndEmpty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(analyst)
	w.get(statisticsPath).wants(200, "How the programme does").contains("Nothing happened in this period yet. Numbers come with the first code").
		contains("the same as before").lacks("Counted at").lacks("From code to upload")
	w.signIn(caseworker)
	w.get(statisticsPath).wants(403, "You may not do this")
	w.get(statisticsPath+"/file?figure=funnel&form=csv").wants(403, "You may not do this")
}
