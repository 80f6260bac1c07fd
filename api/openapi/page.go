package openapi

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
)

// page is how the document looks to people.
type page struct {
	template *template.Template
	policy   string
}

// newPage puts the style into the page, and its digest into the page's policy: nothing
// else is let in.
func newPage() (*page, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"prose": prose}).Parse(strings.Replace(pageHTML, "STYLE", pageCSS, 1))
	if err != nil {
		return nil, fmt.Errorf("openapi page: %w", err)
	}
	digest := sha256.Sum256([]byte(pageCSS))
	return &page{template: t, policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}, nil
}

// Page is the document for people, for a tenant, and the content policy that it must be
// sent with.
func (d *Document) Page(s Site) (html []byte, policy string, err error) {
	var out bytes.Buffer
	if err := d.page.template.Execute(&out, d.view(s)); err != nil {
		return nil, "", fmt.Errorf("openapi page: %w", err)
	}
	return out.Bytes(), d.page.policy, nil
}

// view is what the template shows.
type view struct {
	Name, Title, Summary, Description, Server string
	Groups                                    []group
	Schemas                                   []schemaView
}

type group struct {
	ID, Name, Description string
	Operations            []operationView
}

type operationView struct {
	ID, Method, Path, Summary, Description string
	Server                                 string // if it is another than the page's
	Credential                             string
	Parameters                             []parameter
	Request                                []typeName
	Curl                                   string
	Responses                              []responseView
}

type responseView struct {
	Status, Description string
	Bodies              []bodyView
}

type bodyView struct {
	Content string
	Types   []typeName
}

// typeName names a type; Schema is set if the page describes it.
type typeName struct{ Text, Schema string }

type schemaView struct {
	Name, Description string
	Members           []memberView
	Example           string
}

type memberView struct {
	Name, Description string
	Types             []typeName
	Required          bool
	Deprecated        bool
}

func (d *Document) view(s Site) view {
	v := view{Name: s.Name, Title: d.Info.Title, Summary: d.Info.Summary, Description: d.Info.Description, Server: s.server()}
	for i, t := range d.Tags {
		v.Groups = append(v.Groups, group{fmt.Sprintf("group-%d", i+1), t.Name, t.Description, d.operationsOf(t.Name, s)})
	}
	for _, sc := range d.Components.Schemas {
		if sc.Value.described() {
			v.Schemas = append(v.Schemas, d.schemaView(sc.Name, sc.Value))
		}
	}
	return v
}

func (d *Document) operationsOf(tag string, s Site) []operationView {
	var list []operationView
	for _, p := range d.Paths {
		for _, o := range p.Value.operations() {
			if slices.Contains(o.Tags, tag) {
				list = append(list, d.operationView(p.Name, p.Value, o, s))
			}
		}
	}
	return list
}

func (d *Document) operationView(path string, p pathItem, o methodOperation, s Site) operationView {
	v := operationView{
		ID: o.OperationID, Method: o.Method, Path: path, Summary: o.Summary, Description: o.Description,
		Credential: d.Components.SecuritySchemes.find(credential(o.Security)).Description,
	}
	server := s.server()
	if len(p.Servers) > 0 {
		server = s.fill(p.Servers[0].URL)
		v.Server = server
	}
	for _, param := range slices.Concat(p.Parameters, o.Parameters) {
		if param.Ref != "" {
			param = d.Components.Parameters.find(baseName(param.Ref))
		}
		v.Parameters = append(v.Parameters, param)
	}
	if o.RequestBody != nil {
		body := o.RequestBody.Content[0].Value.Schema
		v.Request = d.types(body)
		v.Curl = curl(server+path, credential(o.Security), d.example(body))
	}
	for _, r := range o.Responses {
		v.Responses = append(v.Responses, d.responseView(r))
	}
	return v
}

func (d *Document) responseView(r member[response]) responseView {
	value := r.Value
	if value.Ref != "" {
		value = d.Components.Responses.find(baseName(value.Ref))
	}
	v := responseView{Status: r.Name, Description: value.Description}
	for _, m := range value.Content {
		v.Bodies = append(v.Bodies, bodyView{m.Name, d.types(m.Value.Schema)})
	}
	return v
}

// example is the first of a body's, on one line; empty if there is none.
func (d *Document) example(body schema) string {
	if body = d.resolve(body); len(body.Examples) > 0 {
		return string(body.Examples[0])
	}
	return ""
}

// credential names the scheme that the operation asks for; empty if it asks for none.
func credential(security []map[string][]string) string {
	for _, s := range security {
		for name := range s {
			return name
		}
	}
	return ""
}

// curl is a request to copy.
func curl(url, scheme, example string) string {
	if example == "" {
		return ""
	}
	key := ""
	if kind, isKey := strings.CutSuffix(scheme, "Key"); isKey {
		key = " \\\n  -H \"X-API-Key: $" + strings.ToUpper(kind) + "_KEY\""
	}
	return "curl -sS " + url + key + " \\\n  -H 'Content-Type: application/json' \\\n  -d '" + example + "'"
}

// described says that a schema has a part of the page for itself; others are told where
// they are used.
func (s schema) described() bool { return len(s.Properties) > 0 }

// resolve is the schema that is meant.
func (d *Document) resolve(s schema) schema {
	if s.Ref == "" {
		return s
	}
	return d.Components.Schemas.find(baseName(s.Ref))
}

func (d *Document) schemaView(name string, s schema) schemaView {
	v := schemaView{Name: name, Description: s.Description}
	for _, p := range s.Properties {
		v.Members = append(v.Members, memberView{
			Name: p.Name, Description: d.meaning(p.Value), Types: d.types(p.Value),
			Required: slices.Contains(s.Required, p.Name), Deprecated: p.Value.Deprecated,
		})
	}
	if len(s.Examples) > 0 {
		var out bytes.Buffer
		if json.Indent(&out, s.Examples[0], "", "  ") == nil {
			v.Example = out.String()
		}
	}
	return v
}

// meaning is a member's description; a described type tells its own elsewhere.
func (d *Document) meaning(s schema) string {
	if target := d.resolve(s); !target.described() {
		return cmp.Or(s.Description, target.Description)
	}
	return s.Description
}

// types names a schema: one name, or one for each alternative.
func (d *Document) types(s schema) []typeName {
	if s.Ref != "" {
		name, target := baseName(s.Ref), d.resolve(s)
		if target.described() {
			return []typeName{{name, name}}
		}
		return d.types(target)
	}
	switch {
	case len(s.AnyOf) > 0:
		var list []typeName
		for _, a := range s.AnyOf {
			list = append(list, d.types(a)...)
		}
		return list
	case s.Items != nil:
		list := d.types(*s.Items)
		for i := range list {
			list[i].Text = "array of " + list[i].Text
		}
		return list
	case s.Const != nil:
		return []typeName{{Text: literal(s.Const)}}
	case len(s.Enum) > 0:
		var list []typeName
		for _, e := range s.Enum {
			list = append(list, typeName{Text: literal(e)})
		}
		return list
	}
	return []typeName{{Text: plainType(s.Type)}}
}

// literal is a value as JSON writes it.
func literal(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

func plainType(t any) string {
	switch t := t.(type) {
	case string:
		return t
	case []any:
		var names []string
		for _, n := range t {
			names = append(names, fmt.Sprint(n))
		}
		return strings.Join(names, " or ")
	default:
		return "anything"
	}
}

func baseName(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

// span is a part of a text; code stands between backticks.
type span struct {
	Text string
	Code bool
}

// prose splits a text into paragraphs of spans.
func prose(text string) [][]span {
	var paragraphs [][]span
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		var spans []span
		for i, part := range strings.Split(p, "`") {
			if part != "" {
				spans = append(spans, span{part, i%2 == 1})
			}
		}
		if spans != nil {
			paragraphs = append(paragraphs, spans)
		}
	}
	return paragraphs
}
