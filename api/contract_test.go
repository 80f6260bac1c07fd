package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"carillon/api"
	"carillon/api/openapi"
	"carillon/authz"
)

// contract is the document, and the schemas in it that were needed so far.
type contract struct {
	doc *openapi3.T

	mu       sync.Mutex
	compiler *jsonschema.Compiler          // guarded by mu
	schemas  map[string]*jsonschema.Schema // guarded by mu; by their place in the document
}

const documentURL = "https://carillon.example/openapi.json"

// theContract is read once. Every answer's members are closed in it: what an answer has
// and the document does not is an error here, though clients may not take it for one.
var theContract = sync.OnceValues(func() (*contract, error) {
	d, err := openapi.Load()
	if err != nil {
		return nil, err
	}
	text := d.JSON(openapi.Site{Slug: "north"})
	c := &contract{compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	if c.doc, err = openapi3.NewLoader().LoadFromData(text); err != nil {
		return nil, err
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	schemas := tree.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
	for name, s := range schemas {
		tolerant := strings.HasSuffix(name, "Request") || name == "PublishedKey"
		if _, object := s.(map[string]any)["properties"]; object && !tolerant {
			s.(map[string]any)["additionalProperties"] = false
		}
	}
	return c, c.compiler.AddResource(documentURL, tree)
})

// holds reports how a JSON text is not what the schema at a place says.
func (c *contract) holds(place string, text []byte) error {
	c.mu.Lock()
	schema, known := c.schemas[place]
	if !known {
		var err error
		if schema, err = c.compiler.Compile(documentURL + "#" + place); err != nil {
			c.mu.Unlock()
			return err
		}
		c.schemas[place] = schema
	}
	c.mu.Unlock()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// place is a JSON pointer.
func place(parts ...string) string {
	for i, p := range parts {
		parts[i] = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(p)
	}
	return "/" + strings.Join(parts, "/")
}

// inDocument is a route's name in the document.
func inDocument(r authz.Route) string {
	parts := strings.Split(strings.TrimPrefix(r.Path, "/t/:tenant"), "/")
	for i, p := range parts {
		if strings.HasPrefix(p, ":") || strings.HasPrefix(p, "*") {
			parts[i] = "{" + p[1:] + "}"
		}
	}
	return r.Method + " " + strings.Join(parts, "/")
}

// Every route of this surface is in the document, and nothing else is.
func TestDocumentHasEveryRoute(t *testing.T) {
	t.Parallel()
	f := setUp(t, func(f *fixture, c *api.Config) {
		c.Reporter = f.verification(f.world.Issuer, nil)
		provisioned(f, c)
	})
	var routes []string
	for _, r := range f.routes {
		routes = append(routes, inDocument(r))
	}
	d, err := openapi.Load()
	if err != nil {
		t.Fatal(err)
	}
	documented := d.Operations()
	slices.Sort(routes)
	slices.Sort(documented)
	if diff := cmp.Diff(routes, documented); diff != "" {
		t.Errorf("routes and api/openapi/openapi.yaml differ (-only routed +only documented):\n%s", diff)
	}
}

// The document is each tenant's own, and nobody's under another name.
func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	f := setUp(t, func(_ *fixture, c *api.Config) { c.BaseURL = "https://codes.example" })
	document := f.ask(t, http.MethodGet, "/t/north/openapi.json", nil, "")
	for _, want := range []string{`"https://codes.example/t/north"`, `"https://` + regionHost(f.north) + `"`, `"openapi":"3.1.0"`} {
		if !strings.Contains(strings.ReplaceAll(string(document.body), `": "`, `":"`), want) {
			t.Errorf("the document does not have %s: %v", want, document)
		}
	}
	page := f.ask(t, http.MethodGet, "/t/south/docs", nil, "")
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(string(page.body), "https://codes.example/t/south") || !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") {
		t.Errorf("page: %v, policy %q", page, policy)
	}
	for _, path := range []string{"/t/nowhere/docs", "/t/nowhere/openapi.json"} {
		if a := f.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %v", path, a)
		}
	}
}

// The document has every member of the statistics and of the mapping of laboratory results:
// none can be missing that is not named here, and none be one too many.
func TestDocumentIsExact(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	newWeek(t, f)
	f.rollup(t)
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	mayMiss := []string{
		".version", ".onset", ".fhir.collected", ".csv.assigner", ".csv.collected", ".csv.onset", ".csv.status",
		".outcomes.positive", ".outcomes.likely", ".outcomes.negative", ".outcomes.none",
	}
	answers := map[string]answer{"/api/lab-feed/mapping": f.labAsk(t, http.MethodGet, "/mapping", "")}
	for _, r := range reports {
		documented := "/api/stats/" + r + ".json"
		if dir, id, _ := strings.Cut(r, "/2"); id != "" {
			documented = "/api/stats/" + dir + "/{file}"
		}
		answers[documented] = f.statistics(t, f.north, r+".json")
	}
	for path, a := range answers {
		schema := place("paths", path, "get", "responses", "200", "content", contentJSON, "schema")
		var whole any
		if err := json.Unmarshal(a.body, &whole); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		holds := func() bool {
			text, err := json.Marshal(whole)
			return err == nil && c.holds(schema, text) == nil
		}
		if !holds() {
			t.Errorf("%s: the document does not have the answer itself", path)
		}
		eachObject(whole, "", func(at string, o map[string]any) {
			o["stray"] = 1
			if holds() {
				t.Errorf("%s: the document has any member of %q", path, at)
			}
			delete(o, "stray")
			for name, value := range maps.Clone(o) {
				member := at + "." + name
				optional := slices.Contains(mayMiss, member) || name == "delay_distribution"
				if delete(o, name); holds() != optional {
					t.Errorf("%s: without %q the answer holds: %t, want %t", path, member, !optional, optional)
				}
				o[name] = value
			}
		})
	}
}

// eachObject calls fn with each object in a value and its place; with the first one of
// a list alone.
func eachObject(value any, at string, fn func(at string, o map[string]any)) {
	switch v := value.(type) {
	case map[string]any:
		fn(at, v)
		for name, inner := range v {
			eachObject(inner, at+"."+name, fn)
		}
	case []any:
		if len(v) > 0 {
			eachObject(v[0], at, fn)
		}
	}
}

// exchange is a request and its answer, as they passed.
type exchange struct {
	request     *http.Request
	asked, told bytes.Buffer
	status      int
	header      http.Header
}

// recorded holds every exchange with h against the document.
func recorded(t *testing.T, h http.Handler) http.Handler {
	t.Helper()
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &exchange{request: r.Clone(context.WithoutCancel(r.Context()))}
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &e.asked), r.Body}
		h.ServeHTTP(&recorder{ResponseWriter: w, exchange: e}, r)
		if err := e.check(c); err != nil {
			t.Errorf("against the document: %s %s, status %d: %v", r.Method, r.URL.Path, e.status, err)
		}
	})
}

type recorder struct {
	http.ResponseWriter
	exchange *exchange
}

// Unwrap lets a handler set deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	r.exchange.note(status, r.Header())
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.exchange.note(http.StatusOK, r.Header())
	r.exchange.told.Write(p)
	return r.ResponseWriter.Write(p)
}

func (e *exchange) note(status int, h http.Header) {
	if e.status == 0 {
		e.status, e.header = status, h.Clone()
	}
}

// check says in what an exchange is not as the document has it. Exchanges that are about
// nothing in the document are as they may be.
func (e *exchange) check(c *contract) error {
	const gone = 499 // the client, who receives nothing
	path := e.documentPath(c.doc)
	if path == "" || e.status == gone || e.status == 0 || (e.status == http.StatusNotFound && e.told.String() == "404 page not found\n") {
		return nil
	}
	operation := c.doc.Paths.Value(path).GetOperation(e.request.Method)
	if operation == nil {
		if e.status != http.StatusMethodNotAllowed {
			return errors.New("the document does not have this method")
		}
		return nil
	}
	granted := e.status < http.StatusMultipleChoices && e.request.Header.Get("X-Chaff") == ""
	if kind := isJSON(e.request.Header.Get("Content-Type")); granted && kind != "" && e.asked.Len() > 0 {
		err := c.holds(place("paths", path, strings.ToLower(e.request.Method), "requestBody", "content", kind, "schema"), e.asked.Bytes())
		if err != nil {
			return fmt.Errorf("a request that was granted: %w", err)
		}
	}
	return e.checkAnswer(c, path, operation)
}

const (
	contentJSON = "application/json"
	contentSCIM = "application/scim+json"
)

// isJSON is the one of these that a content type begins with; empty if it is another.
func isJSON(contentType string) string {
	for _, kind := range []string{contentJSON, contentSCIM} {
		if strings.HasPrefix(contentType, kind) {
			return kind
		}
	}
	return ""
}

func (e *exchange) checkAnswer(c *contract, path string, operation *openapi3.Operation) error {
	documented := operation.Responses.Status(e.status)
	if documented == nil {
		return errors.New("the document does not have this status")
	}
	if e.told.Len() == 0 || e.request.Method == http.MethodHead {
		return nil
	}
	kind, _, err := mime.ParseMediaType(e.header.Get("Content-Type"))
	if err != nil || documented.Value.Content[kind] == nil {
		return fmt.Errorf("the document does not have the content type %q", e.header.Get("Content-Type"))
	}
	if isJSON(kind) == "" {
		return nil
	}
	at := place("paths", path, strings.ToLower(e.request.Method), "responses", strconv.Itoa(e.status))
	if name, shared := strings.CutPrefix(documented.Ref, "#/components/responses/"); shared {
		at = place("components", "responses", name)
	}
	return c.holds(at+place("content", kind, "schema"), e.told.Bytes())
}

// documentPath is what of the document a request is about: empty if nothing.
func (e *exchange) documentPath(doc *openapi3.T) string {
	const link = "/{path}" // whatever a link's path is
	path := e.request.URL.Path
	if e.status == http.StatusSeeOther {
		return link
	}
	if rest, ok := strings.CutPrefix(path, "/t/"); ok {
		_, inside, _ := strings.Cut(rest, "/")
		path = "/" + inside
	} else if strings.HasPrefix(e.request.Host, "127.0.0.1:") && !slices.Contains([]string{"/health", "/ready"}, path) {
		return "" // the host form is for hosts of tenants
	}
	for _, pattern := range doc.Paths.InMatchingOrder() {
		if pattern != link && matches(pattern, path) {
			return pattern
		}
	}
	return ""
}

// matches compares a path with a pattern, part by part.
func matches(pattern, path string) bool {
	return slices.EqualFunc(strings.Split(pattern, "/"), strings.Split(path, "/"), func(want, got string) bool {
		return want == got || (strings.HasPrefix(want, "{") && got != "")
	})
}
