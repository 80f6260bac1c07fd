package strictjson_test

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"carillon/api/strictjson"
)

type request struct {
	Name    string             `json:"name"`
	Count   int32              `json:"count"`
	Offset  float64            `json:"offset"`
	On      bool               `json:"on"`
	List    []string           `json:"list"`
	Items   []item             `json:"items"`
	Padding strictjson.Ignored `json:"padding"`
}

type item struct {
	HMACKey string `json:"hmacKey"`
	Size    int32  `json:"size"`
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		want       request
	}{
		{"empty object", `{}`, request{}},
		{"null is an empty object", ` null `, request{}},
		{"members", `{"name":"a","count":-3,"offset":-0.5,"on":true,"list":["x","y"]}`, request{Name: "a", Count: -3, Offset: -0.5, On: true, List: []string{"x", "y"}}},
		{"null is absent", `{"name":null,"count":null,"offset":null,"on":null,"list":null,"items":null,"padding":null}`, request{}},
		{"names in another case", `{"NAME":"a","items":[{"hmackey":"k"},{"HMACKEY":"l"}]}`, request{Name: "a", Items: []item{{HMACKey: "k"}, {HMACKey: "l"}}}},
		{"blanks around", "\n\t {\"name\":\"a\"} \r\n", request{Name: "a"}},
		{"padding of any kind", `{"padding":{"a":1,"a":[2,{"b":null,"b":3}]},"name":"a"}`, request{Name: "a"}},
		{"escapes", `{"name":"\u0061\u0000\ud83d\ude00"}`, request{Name: "a\x00😀"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got request
			if err := strictjson.Decode([]byte(test.body), &got); err != nil {
				t.Fatalf("Decode: %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// The texts are those of the verification protocol §0.2 and key server protocol §1.7.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, body, want string }{
		{"nothing", ``, `body must not be empty`},
		{"blanks", " \n ", `body must not be empty`},
		{"truncated", `{"name":"a"`, `malformed json`},
		{"truncated text", `{"name":"a`, `malformed json`},
		{"syntax", `{"name":}`, `malformed json at position 9`},
		{"not JSON", `code=12345678`, `malformed json at position 1`},
		{"comma at the end", `{"name":"a",}`, `malformed json at position 13`},
		{"single quotes", `{'name':"a"}`, `malformed json at position 2`},
		{"byte order mark", "\ufeff{}", `malformed json at position 1`},
		{"wrong type", `{"name":5}`, `invalid value "name" at position 9`},
		{"number as text", `{"count":"5"}`, `invalid value "count" at position 12`},
		{"number too large", `{"count":2147483648}`, `invalid value "count" at position 19`},
		{"number with a fraction", `{"count":1.5}`, `invalid value "count" at position 12`},
		{"number for a boolean", `{"on":1}`, `invalid value "on" at position 7`},
		{"inner member", `{"items":[{"size":true}]}`, `invalid value "items.size" at position 22`},
		{"array", `[]`, `invalid value "" at position 1`},
		{"text", `"name"`, `invalid value "" at position 6`},
		{"unknown", `{"name":"a","surname":"b"}`, `unknown field "surname"`},
		{"unknown inside", `{"items":[{"kind":1}]}`, `unknown field "kind"`},
		{"second object", `{}{}`, `body must contain only one JSON object`},
		{"second value", `{} 1`, `body must contain only one JSON object`},
		{"rubbish behind", `{}x`, `body must contain only one JSON object`},
		{"repeated", `{"name":"a","name":"b"}`, `duplicate field "name"`},
		{"repeated as null", `{"name":"a","name":null}`, `duplicate field "name"`},
		{"repeated in another case", `{"name":"a","NaMe":"b"}`, `duplicate field "NaMe"`},
		{"repeated with an escape", `{"name":"a","\u006eame":"b"}`, `duplicate field "name"`},
		{"repeated in another script", `{"items":[{"hmacKey":"a","hmac` + "\u212a" + `ey":"b"}]}`, "duplicate field \"hmac\u212aey\""},
		{"repeated padding", `{"padding":1,"padding":2}`, `duplicate field "padding"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := strictjson.Decode([]byte(test.body), &request{})
			var refusal *strictjson.Error
			if !errors.As(err, &refusal) || err.Error() != test.want {
				t.Errorf("Decode: %v, want %s", err, test.want)
			}
		})
	}
}

func TestDecodeBoundsDepth(t *testing.T) {
	t.Parallel()
	type deep struct {
		Value any `json:"value"`
	}
	nested := func(depth int) []byte {
		return []byte(`{"value":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`)
	}
	if err := strictjson.Decode(nested(strictjson.MaxDepth), &deep{}); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	for _, depth := range []int{strictjson.MaxDepth + 1, 1000, 30_000} {
		if err := strictjson.Decode(nested(depth), &deep{}); err == nil || !strings.HasPrefix(err.Error(), "malformed json at position ") {
			t.Errorf("depth %d: %v, want a refusal", depth, err)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	if b, err := strictjson.Read(strings.NewReader(strings.Repeat("x", strictjson.MaxBody))); err != nil || len(b) != strictjson.MaxBody {
		t.Errorf("at the bound: %d bytes, %v", len(b), err)
	}
	_, err := strictjson.Read(strings.NewReader(strings.Repeat("x", strictjson.MaxBody+1)))
	if !errors.Is(err, strictjson.ErrTooLarge) || err.Error() != "http: request body too large" {
		t.Errorf("above the bound: %v, want ErrTooLarge", err)
	}
	broken := errors.New("broken")
	if _, err := strictjson.Read(io.MultiReader(strings.NewReader("{"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("broken reader: %v, want its own error", err)
	}
}

// FuzzDecode looks for a body that is taken although it is no single JSON object, has
// a member twice, or would be read otherwise by another reader of JSON.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"name":"a","NAME":"b"}`, `{"items":[{"hmackey":"k","size":1}],"padding":[{}]}`,
		`{"list":["x",null],"offset":1e3}`, `{"padding":{"a":{"a":[[[]]]}}}`, `{"name":"\ud800"}`, `[`, `{} {}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got request
		err := strictjson.Decode(body, &got)
		if err != nil {
			var refusal *strictjson.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		var plain map[string]json.RawMessage
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("taken, but no object: %v", err)
		}
		for a := range plain {
			for b := range plain {
				if a != b && strings.EqualFold(a, b) {
					t.Fatalf("taken with both %q and %q", a, b)
				}
			}
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var again request
		if err := strictjson.Decode(text, &again); err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		if !reflect.DeepEqual(got, again) {
			t.Fatalf("got %+v, and after another round %+v", got, again)
		}
	})
}
