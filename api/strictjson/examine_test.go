package strictjson

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// byTokens is what examine does, by the standard library's tokens.
func byTokens(body []byte) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	good, _ := tokens(d, 0, "")
	return good
}

// tokens takes a value, or the delimiter that ends the one around it.
func tokens(d *json.Decoder, depth int, name string) (good bool, t json.Token) {
	if depth == 1 && name == padding {
		var anything json.RawMessage
		return d.Decode(&anything) == nil, nil
	}
	t, err := d.Token()
	if err != nil || (t != json.Delim('{') && t != json.Delim('[')) {
		return err == nil, t
	}
	seen := map[string]bool{}
	for depth++; depth <= MaxDepth; {
		var inner string
		if t == json.Delim('{') {
			good, next := tokens(d, -1, "")
			if !good || next == json.Delim('}') {
				return good, t
			}
			name, isName := next.(string)
			inner = fold(name)
			if !isName || seen[inner] {
				return false, t
			}
			seen[inner] = true
		}
		good, next := tokens(d, depth, inner)
		if !good || next == json.Delim(']') {
			return good, t
		}
	}
	return false, t
}

// FuzzExamine holds the walk against one of the standard library's tokens.
func FuzzExamine(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` [ ] `, `null`, `"a\"b"`, `-1.5e+3`, `{"a":1,"A":2}`, `{"a":{"b":[1,{"b":"}"}]},"b":true}`, `{"padding":[{"a":1,"a":2}],"a":{}}`,
		`{"a":{"padding":{"x":1,"X":1}}}`, `{"\u0061":1,"a":1}`, `{"k":1,"\u212a":2}`, "{\"\xff\":1,\"\xfe\":2}",
		`{"PADDING":[[[]]],"padding":1}`, strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1),
		`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1,"r":1,"R":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			return
		}
		if got, want := examine(body) == nil, byTokens(body); got != want {
			t.Errorf("%q: taken %v, want %v", body, got, want)
		}
	})
}

// FuzzShorten looks for a body that means something else without its padding.
func FuzzShorten(f *testing.F) {
	for _, seed := range []string{
		`{"padding":"aaaa","name":"b"}`, `{"padding":"a\"a","name":"b"}`, `{"x\"padding":"aaa"}`, `{"x":"y"padding":"aaa"}`, `{"x":"padding":"aaa"}`,
		`{"padding":"aaa`, `{"x":{"padding":"aaa"}}`, `{"padding":"a\u0000a"}`, "{\"padding\":\"a\na\"}", `["padding":"aaa"]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		short := shorten(body)
		if json.Valid(body) != json.Valid(short) {
			t.Fatalf("%q becomes %q", body, short)
		}
		type known struct {
			Name    string
			List    []string
			Padding Ignored
		}
		var of, ofShort known
		err, errShort := json.Unmarshal(body, &of), json.Unmarshal(short, &ofShort)
		if (err == nil) != (errShort == nil) || (err == nil && (of.Name != ofShort.Name || len(of.List) != len(ofShort.List))) {
			t.Fatalf("%q means %+v, %v; %q means %+v, %v", body, of, err, short, ofShort, errShort)
		}
	})
}
