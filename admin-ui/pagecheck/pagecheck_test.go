package pagecheck_test

import (
	"net/http"
	"strings"
	"testing"

	"carillon/admin-ui/pagecheck"
)

// good is a page without a fault.
const good = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Codes – North</title>
<link rel="stylesheet" href="/assets/portal.css">
<script type="module" src="/assets/portal.js"></script>
</head>
<body>
<nav aria-label="Pages"><ul><li><a href="/codes?a=1&amp;b=2">Codes</a></li></ul></nav>
<main id="main">
<h1>Codes</h1>
<svg aria-hidden="true" viewBox="0 0 1 1"><path d="M0 0"/></svg>
<h2 id="found">Found</h2>
<table>
<caption>Codes by day</caption>
<thead><tr><th scope="col">Day</th><th scope="col">Codes</th></tr></thead>
<tbody><tr><th scope="row"><time datetime="2026-11-27">Today</time></th><td>1</td></tr></tbody>
</table>
<form method="post" action="/codes">
<fieldset><legend>Which?</legend>
<input type="radio" id="one" name="which" value="1"><label for="one">One</label>
</fieldset>
<label for="text">Text</label><input type="text" id="text" name="text" aria-describedby="found">
<button>Send</button>
</form>
</main>
</body>
</html>
`

func page(source string) pagecheck.Page {
	return pagecheck.Page{
		Source: source, Lang: "en",
		Header: http.Header{
			"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"},
			"Referrer-Policy": {"same-origin"}, "Content-Security-Policy": {"default-src 'none'; style-src 'self'"},
		},
		Leads: func(_, path string) bool { return path == "/codes" },
	}
}

func TestAGoodPageHasNoFault(t *testing.T) {
	t.Parallel()
	p := page(good)
	if faults := p.Faults(); faults != nil {
		t.Errorf("%q", faults)
	}
	if p.Title() != "Codes – North" || strings.Join(p.Links(), " ") != "/codes?a=1&b=2" {
		t.Errorf("title %q, links %q", p.Title(), p.Links())
	}
}

// Each change to the good page makes the fault that is named, and no other.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, changed, fault string }{
		{"<!doctype html>\n", "", "no doctype in the first line"},
		{`<h2 id="found">Found</h2>`, `<h2 id="found">Found</h3>`, "</h3> within [html body main h2]"},
		{"</nav>", "", "</body> within [html body nav]"},
		{"<h1>Codes</h1>", "<h1>Codes</h1><p><div></div></p>", "a browser reads the elements otherwise than they are written"},
		{"<tbody>", "", "</tbody> within [html body main table]"},
		{"a=1&amp;b", "a=1&b", `a bare ampersand: "&b=2\"`},
		{`<svg aria-hidden="true"`, `<svg`, "neither hidden nor a picture"},
		{`lang="en"`, `lang="es"`, `the language is "es", not "en"`},
		{`lang="en"`, `lang="en" dir="rtl"`, `"en" is written in direction "rtl"`},
		{"Codes – North", "North", `title "North" does not begin with heading "Codes"`},
		{"<h1>Codes</h1>", "<h1>Codes</h1><h1>Codes</h1>", "2 h1"},
		{"<h2 id=\"found\">Found</h2>", "<h3 id=\"found\">Found</h3>", `h3 follows h1: "Found"`},
		{`<main id="main">`, `<main id="found">`, "the ID is used twice"},
		{`<main id="main">`, `<main id="main" onclick="x()">`, "inline onclick"},
		{`<main id="main">`, `<main id="main" style="color: red">`, "inline style"},
		{`<main id="main">`, `<main id="main" tabindex="1">`, "changes the order"},
		{`<main id="main">`, `<main id="main" aria-labeledby="found">`, "unknown aria-labeledby"},
		{"</head>", "<style></style></head>", "<style>: inline"},
		{`<script type="module" src="/assets/portal.js">`, "<script>", "<script>: inline"},
		{`src="/assets/portal.js"`, `src="https://cdn.example/portal.js"`, `src is "https://cdn.example/portal.js"`},
		{`href="/assets/portal.css"`, `href="//cdn.example/portal.css"`, `leads to "//cdn.example/portal.css"`},
		{"initial-scale=1", "maximum-scale=1", "forbids to zoom"},
		{`<nav aria-label="Pages">`, `<nav><ul><li>x</li></ul></nav><nav aria-label="Pages">`, "one of 2 without a name"},
		{`href="/codes?a=1`, `href="/nowhere?a=1`, "leads to no page of ours"},
		{`href="/codes?a=1`, `href="#nothing?a=1`, "leads to nothing on the page"},
		{`href="/codes?a=1`, `href="http://codes.example/?a=1`, `leads away by "http"`},
		{">Codes</a>", "></a>", "no words"},
		{`action="/codes"`, `action="/nowhere"`, "sends to no page of ours"},
		{`action="/codes"`, "", `sends to ""`},
		{"<button>Send</button>", "", "no button"},
		{"<button>Send</button>", "<button></button>", "no words"},
		{"</form>", "</form><button>Again</button>", "there is nothing that it could send"},
		{`<label for="text">Text</label>`, "", "no label"},
		{`<label for="text">`, `<label for="main">`, "it is for no field"},
		{"<legend>Which?</legend>", "", "no legend with words comes first"},
		{`type="text" id="text" name="text"`, `type="text" id="text"`, "no name to be sent by"},
		{`aria-describedby="found"`, `aria-describedby="lost"`, "aria-describedby names nothing: lost"},
		{`aria-describedby="found"`, `aria-invalid="true"`, "wrong, and nothing says why"},
		{`type="text"`, `type="file"`, "sends the file's name only"},
		{"<caption>Codes by day</caption>", "", "no caption with words comes first"},
		{`<th scope="col">Day</th>`, "<th>Day</th>", `scope "" of "Day"`},
		{"<td>1</td>", "<td>1</td><td>2</td>", "a row of 3 cells among rows of 2"},
		{`datetime="2026-11-27"`, `datetime="yesterday"`, `datetime "yesterday"`},
		{"<td>1</td>", "<td>%!d(string=x)</td>", "a value is missing: %!d("},
		{"<td>1</td>", "<td>ZgotmplZ</td>", "a value is missing: ZgotmplZ"},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatalf("the good page has no %s", c.old)
		}
		faults := page(strings.Replace(good, c.old, c.changed, 1)).Faults()
		if found := strings.Join(faults, "\n"); !strings.Contains(found, c.fault) {
			t.Errorf("%s for %s: %q, want %q", c.changed, c.old, faults, c.fault)
		}
	}
}

func TestHeadersOfAPage(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{
		"Cache-Control": "private", "Referrer-Policy": "", "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'", "Content-Type": "text/html",
	} {
		p := page(good)
		p.Header.Set(key, value)
		if faults := p.Faults(); len(faults) != 1 {
			t.Errorf("%s %q: %q", key, value, faults)
		}
	}
}
