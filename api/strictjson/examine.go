package strictjson

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"
)

// examine walks a body that is known to be valid: nothing is nested too deep, no object
// has a member twice.
func examine(body []byte) error {
	w := walker{body: body}
	return w.value(0)
}

// walker reads valid JSON from where it stands.
type walker struct {
	body []byte
	at   int
}

// value walks a value, which is inside so many others.
func (w *walker) value(depth int) error {
	switch w.next() {
	case '{':
		return w.object(depth + 1)
	case '[':
		return w.array(depth + 1)
	default:
		w.scalar()
		return nil
	}
}

// next is the next character that is neither blank nor between values.
func (w *walker) next() byte {
	for strings.IndexByte(" \t\r\n,:", w.body[w.at]) >= 0 {
		w.at++
	}
	return w.body[w.at]
}

// scalar passes over a text, a number, or a word.
func (w *walker) scalar() {
	if w.body[w.at] == '"' {
		w.text()
		return
	}
	for w.at < len(w.body) && strings.IndexByte(" \t\r\n,:]}", w.body[w.at]) < 0 {
		w.at++
	}
}

// text passes over a text and returns it with its quotes, and whether it is plain: one
// of letters, digits and signs that stand for themselves.
func (w *walker) text() (text []byte, plain bool) {
	from := w.at
	plain = true
	for w.at++; w.body[w.at] != '"'; w.at++ {
		switch c := w.body[w.at]; {
		case c == '\\':
			w.at++
			plain = false
		case c > '~':
			plain = false
		}
	}
	w.at++
	return w.body[from:w.at], plain
}

func (w *walker) enter(depth int) error {
	w.at++
	if depth > MaxDepth {
		return refuse("malformed json at position %d", w.at)
	}
	return nil
}

func (w *walker) array(depth int) error {
	if err := w.enter(depth); err != nil {
		return err
	}
	for w.next() != ']' {
		if err := w.value(depth); err != nil {
			return err
		}
	}
	w.at++
	return nil
}

const padding = "PADDING" // as fold gives it

func (w *walker) object(depth int) error {
	if err := w.enter(depth); err != nil {
		return err
	}
	var seen names
	for w.next() != '}' {
		name, folded, err := w.name()
		if err != nil {
			return err
		}
		if !seen.add(folded) {
			return refuse("duplicate field %q", name)
		}
		w.next()
		if depth == 1 && folded == padding {
			w.pass()
			continue
		}
		if err := w.value(depth); err != nil {
			return err
		}
	}
	w.at++
	return nil
}

// name reads a member's name.
func (w *walker) name() (name, folded string, err error) {
	quoted, plain := w.text()
	if plain {
		name = string(quoted[1 : len(quoted)-1])
		return name, strings.ToUpper(name), nil
	}
	if err := json.Unmarshal(quoted, &name); err != nil {
		return "", "", refuse("malformed json")
	}
	return name, fold(name), nil
}

// pass passes over a value, whatever is in it.
func (w *walker) pass() {
	for depth := 0; ; {
		switch w.next() {
		case '{', '[':
			depth++
			w.at++
		case '}', ']':
			depth--
			w.at++
		default:
			w.scalar()
		}
		if depth == 0 {
			return
		}
	}
}

// names are those that an object has had so far.
type names struct {
	few  []string
	many map[string]bool // nil while they are few
}

const fewNames = 16

// add reports false for a name that there was.
func (n *names) add(name string) bool {
	if slices.Contains(n.few, name) || n.many[name] {
		return false
	}
	if len(n.few) < fewNames {
		n.few = append(n.few, name)
		return true
	}
	if n.many == nil {
		n.many = map[string]bool{}
	}
	n.many[name] = true
	return true
}

// fold makes one text of all spellings that the decoder takes for the same name.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}
