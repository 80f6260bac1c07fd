// Package openapi is the document of everything that programs ask the service for, in
// the OpenAPI form and as a page for people.
//
// The document is one file, written by hand. It is served for one tenant at a time, with
// that tenant's URLs in it. The page is made from the same file, in its order, and needs
// no script and nothing from elsewhere.
package openapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed openapi.yaml
var source []byte

// Site is whose document is served, and from where.
type Site struct {
	// Base is the URL of the service without a trailing slash; empty makes the URLs
	// relative to where the document was fetched.
	Base string
	// Slug and Name are the tenant's.
	Slug, Name string
	// Links is the URL of the region's links, without a trailing slash.
	Links string
}

func (s Site) server() string { return s.Base + "/t/" + s.Slug }

// Document is the file, read.
type Document struct {
	text string // JSON, with places for what is a tenant's own
	parts
	page *page
}

// Load returns the document that is part of this program. It is read once, and nobody
// may change it.
var Load = sync.OnceValues(read)

func read() (*Document, error) {
	text, err := yaml.YAMLToJSON(source)
	if err != nil {
		return nil, fmt.Errorf("openapi document: %w", err)
	}
	d := &Document{text: string(text)}
	if err := json.Unmarshal(text, &d.parts); err != nil {
		return nil, fmt.Errorf("openapi document: %w", err)
	}
	if d.page, err = newPage(); err != nil {
		return nil, err
	}
	return d, nil
}

// JSON is the document for a tenant.
func (d *Document) JSON(s Site) []byte { return []byte(s.fill(d.text)) }

// fill puts a tenant's own into a text of JSON.
func (s Site) fill(text string) string {
	return strings.NewReplacer(
		"${base}", inJSON(s.Base), "${tenant}", inJSON(s.Slug), "${links}", inJSON(s.Links),
	).Replace(text)
}

// inJSON is a text as it stands between the quotes of a JSON string.
func inJSON(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always encodes
	}
	return string(quoted[1 : len(quoted)-1])
}

// Operations lists what the document describes, as "GET /path".
func (d *Document) Operations() []string {
	var list []string
	for _, p := range d.Paths {
		for _, o := range p.Value.operations() {
			list = append(list, o.Method+" "+p.Name)
		}
	}
	return list
}

// parts are what a page shows of the document.
type parts struct {
	Info struct {
		Title, Summary, Description string
	}
	Tags []struct {
		Name, Description string
	}
	Paths      members[pathItem]
	Components struct {
		SecuritySchemes members[struct{ Description string }]
		Parameters      members[parameter]
		Responses       members[response]
		Schemas         members[schema]
	}
}

type server struct{ URL string }

type pathItem struct {
	Servers                             []server
	Parameters                          []parameter
	Get, Head, Post, Put, Patch, Delete *operation
}

// operations are those that there are, with their methods.
func (p pathItem) operations() []methodOperation {
	var list []methodOperation
	for _, o := range []methodOperation{{"GET", p.Get}, {"HEAD", p.Head}, {"POST", p.Post}, {"PUT", p.Put}, {"PATCH", p.Patch}, {"DELETE", p.Delete}} {
		if o.operation != nil {
			list = append(list, o)
		}
	}
	return list
}

type methodOperation struct {
	Method string
	*operation
}

type operation struct {
	OperationID          string
	Tags                 []string
	Summary, Description string
	Security             []map[string][]string
	Parameters           []parameter
	RequestBody          *struct{ Content members[media] }
	Responses            members[response]
}

type parameter struct {
	Ref                   string `json:"$ref"`
	Name, In, Description string
	Required              bool
	Example               any
}

type response struct {
	Ref         string `json:"$ref"`
	Description string
	Content     members[media]
}

type media struct{ Schema schema }

type schema struct {
	Ref         string `json:"$ref"`
	Type        any
	Description string
	Properties  members[schema]
	Required    []string
	Items       *schema
	AnyOf       []schema
	Enum        []any
	Const       any
	Deprecated  bool
	Examples    []json.RawMessage
}

// members is a JSON object whose order counts.
type members[T any] []member[T]

type member[T any] struct {
	Name  string
	Value T
}

// UnmarshalJSON reads an object, member by member.
func (m *members[T]) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		next := member[T]{Name: fmt.Sprint(name)}
		if err := d.Decode(&next.Value); err != nil {
			return err
		}
		*m = append(*m, next)
	}
	return nil
}

// find is the member of a name; the zero value if there is none.
func (m members[T]) find(name string) (value T) {
	for _, x := range m {
		if x.Name == name {
			return x.Value
		}
	}
	return value
}
