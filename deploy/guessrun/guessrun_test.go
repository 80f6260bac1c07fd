package guessrun_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"carillon/deploy/guessrun"
)

// Nobody but this machine is attacked, and only with numbers that make sense.
func TestRefusals(t *testing.T) {
	t.Parallel()
	good := guessrun.Options{Base: "http://127.0.0.1:1/t/north/", Guesses: 1, Workers: 1, Networks: 1, Pause: time.Second}
	for _, base := range []string{
		"https://carillon.example/t/north/", "http://192.0.2.1/t/north/", "http://localhost.example/", "http://localhost/t/north/", "http://[2001:db8::1]/",
	} {
		o := good
		o.Base = base
		if _, err := guessrun.Run(t.Context(), o); !errors.Is(err, guessrun.ErrElsewhere) {
			t.Errorf("%s: %v", base, err)
		}
	}
	for name, change := range map[string]func(*guessrun.Options){
		"no slash": func(o *guessrun.Options) { o.Base = "http://127.0.0.1/t/north" }, "no guesses": func(o *guessrun.Options) { o.Guesses = 0 },
		"no workers": func(o *guessrun.Options) { o.Workers = 0 }, "too many networks": func(o *guessrun.Options) { o.Networks = 1 << 20 },
		"no pause": func(o *guessrun.Options) { o.Pause = 0 },
	} {
		o := good
		change(&o)
		if _, err := guessrun.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "slash") && !strings.Contains(err.Error(), "positive") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	f := guessrun.Figures{
		Took: time.Minute, Looked: 300, Waited: 700, AtMost: 310,
		Phones: guessrun.Phones{Served: 3, Took: []time.Duration{1e6, 2e6, 3e6}, Lengths: map[int]int{8: 2, 9: 1}},
	}
	if !f.Held() {
		t.Error("within its bound, and not held")
	}
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	const want = `guesses        1000 in 1m0s
looked up      300, of at most 310
refused        700, and 0 had another answer
hits           0
honest phones  3 served, 0 refused; waiting 2ms in the middle, 2ms for 99 of 100, 3ms at most
their codes    map[8:2 9:1], by digits
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	for name, spoil := range map[string]func(*guessrun.Figures){
		"too many looked up": func(f *guessrun.Figures) { f.Hits = 11 }, "a phone was refused": func(f *guessrun.Figures) { f.Phones.Refused = 1 },
		"another answer": func(f *guessrun.Figures) { f.Others = 1 }, "no phone": func(f *guessrun.Figures) { f.Phones.Served = 0 },
	} {
		g := f
		if spoil(&g); g.Held() {
			t.Errorf("%s, and held", name)
		}
	}
}
