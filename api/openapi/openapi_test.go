package openapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"carillon/api/openapi"
)

func load(t *testing.T) *openapi.Document {
	t.Helper()
	d, err := openapi.Load()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var north = openapi.Site{
	Base: "https://codes.example", Slug: "north", Name: `Health of "North" <b>`, Links: "https://xa-n.links.example",
}

// The document is one of OpenAPI 3.1, whatever the tenant is called.
func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	for _, site := range []openapi.Site{north, {Slug: "north", Name: "North"}} {
		text := load(t).JSON(site)
		if strings.Contains(string(text), "${") {
			t.Errorf("a place is not filled: %.200s", text[strings.Index(string(text), "${"):])
		}
		doc, err := openapi3.NewLoader().LoadFromData(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
			t.Error(err)
		}
		if got, want := doc.Servers[0].URL, site.Base+"/t/north"; got != want {
			t.Errorf("server %q, want %q", got, want)
		}
	}
}

// Names that could end a JSON string stay inside it.
func TestHostileNamesStayInside(t *testing.T) {
	t.Parallel()
	site := openapi.Site{Base: `https://x"},{"y":"`, Slug: "north", Links: "\u2028\\"}
	var doc struct{ Servers []struct{ URL string } }
	if err := json.Unmarshal(load(t).JSON(site), &doc); err != nil || doc.Servers[0].URL != site.Base+"/t/north" {
		t.Errorf("%v, %+v", err, doc)
	}
}

var (
	anchors = regexp.MustCompile(` href="#([^"]+)"`)
	ids     = regexp.MustCompile(` id="([^"]+)"`)
	styles  = regexp.MustCompile(`(?s)<style>(.*)</style>`)
)

// The page has every operation and every type, leads nowhere that is not there, and lets
// nothing in but its own style.
func TestPage(t *testing.T) {
	t.Parallel()
	d := load(t)
	html, policy, err := d.Page(north)
	if err != nil {
		t.Fatal(err)
	}
	page := string(html)
	for _, want := range []string{
		"<code>https://codes.example/t/north</code>", "Health of &#34;North&#34; &lt;b&gt;", "https://xa-n.links.example/{path}",
		"curl -sS https://codes.example/t/north/api/issue", "X-API-Key: $ADMIN_KEY",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	for _, o := range d.Operations() {
		method, path, _ := strings.Cut(o, " ")
		if !strings.Contains(page, "<strong>"+method+"</strong>") || !strings.Contains(page, path+"</code>") {
			t.Errorf("the page does not have %s", o)
		}
	}
	have := map[string]bool{}
	for _, m := range ids.FindAllStringSubmatch(page, -1) {
		if have[m[1]] {
			t.Errorf("two elements are %q", m[1])
		}
		have[m[1]] = true
	}
	for _, m := range anchors.FindAllStringSubmatch(page, -1) {
		if !have[m[1]] {
			t.Errorf("a link leads to %q, which is not there", m[1])
		}
	}
	digest := sha256.Sum256([]byte(styles.FindStringSubmatch(page)[1]))
	if want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'"; !strings.Contains(policy, want) || !strings.HasPrefix(policy, "default-src 'none'; ") {
		t.Errorf("policy %q, want %q in it", policy, want)
	}
	if strings.Contains(page, "<script") || strings.Contains(page, " style=") || strings.Contains(page, "ZgotmplZ") {
		t.Error("the page has a script, a style of its own or something that the template refused")
	}
}
