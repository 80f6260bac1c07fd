package adminui_test

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const statisticsPath = "/portal/north-shore/statistics"

// Whoever may see statistics lands on them, and sees at a glance what the last days came
// to beside those before, and where people are lost.
func TestStatistics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.figures.Days, w.figures.Issuer = 10, "Robin"
	w.signIn(analyst)
	p := w.get("/portal/north-shore/").wants(200, "How the programme does")
	if p.url.Path != statisticsPath {
		t.Errorf("landed on %s", p.url.Path)
	}
	// 10 + 9 + … + 4 = 49 of what there is each day, and 3 + 2 + 1 = 6 before.
	const issued = `Codes issued</dt><dd class="tile__value">`
	p.marks(issued + `490</dd><dd class="tile__change">717 % more than the 60 before<`).
		marks(`Keys exported</dt><dd class="tile__value">1372<`).
		contains("40 %").contains("75 %").contains("67 %").
		marks(`<th scope="row" data-at="2026-11-20">Nov 20</th><td>40</td><td>36</td><td>32</td><td>16</td><td>12</td><td>8</td><td>112</td>`).
		contains("30006: the number is a landline").contains("99999: look it up").
		marks(`data-at="Robin">Robin</th><td>49</td>`).contains("2 or more")
	w.get(statisticsPath + "?period=month").marks(issued + `550</dd><dd class="tile__change">none before<`).marks(`Oct 30</th><td>0</td>`)
	w.get(statisticsPath + "?period=quarter").marks(`Nov 20</th><td>490</td>`).lacks("before<")
	w.get(statisticsPath+"?period=nonsense").wants(200, "How the programme does").marks(issued + "490<")
}

// Each figure is a file, too, with the numbers of the page.
func TestStatisticsAsFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.figures.Days, w.figures.Issuer = 2, `=HYPERLINK("x")`
	w.signIn(analyst)
	file := func(figure, form string) string {
		return w.get(statisticsPath + "/file?period=week&figure=" + figure + "&form=" + form).body
	}
	rows, err := csv.NewReader(strings.NewReader(file("funnel", "csv"))).ReadAll()
	if err != nil || len(rows) != 8 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	want := [][]string{
		{"day", "issued", "sent", "delivered", "claimed", "certificates", "uploads", "keys_exported"},
		{"2026-11-26", "20", "18", "16", "8", "6", "4", "56"},
	}
	if diff := cmp.Diff(want, [][]string{rows[0], rows[7]}); diff != "" {
		t.Error(diff)
	}
	var days []struct {
		Day    string
		Issued int
	}
	if err := json.Unmarshal([]byte(file("funnel", "json")), &days); err != nil || len(days) != 7 || days[6].Day != "2026-11-26" || days[6].Issued != 20 {
		t.Errorf("%+v, %v", days, err)
	}
	if got := file("issuers", "csv"); got != "issuer,issued\n\"'=HYPERLINK(\"\"x\"\")\",3\n" {
		t.Errorf("a name that is a formula: %q", got)
	}
	w.get(statisticsPath+"/file?figure=nothing&form=csv").wants(404, "Page not found")
	w.get(statisticsPath+"/file?figure=funnel&form=xml").wants(404, "Page not found")
}

// Without numbers the page says so, and who may not see them does not.
func TestStatisticsRefusedAndEmpty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(analyst)
	w.get(statisticsPath).wants(200, "How the programme does").contains("Nothing to show in this period yet.").contains("the same as before")
	w.signIn(caseworker)
	w.get(statisticsPath).wants(403, "You may not do this")
	w.get(statisticsPath+"/file?figure=funnel&form=csv").wants(403, "You may not do this")
}
