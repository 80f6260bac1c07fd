package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carillon/tenant/mail"
)

func TestReadMailServer(t *testing.T) {
	t.Parallel()
	if s, err := readMailServer(""); err != nil || s != (mail.None{}) {
		t.Errorf("no file: %v, %v", s, err)
	}
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"whole":         {`{"host":"mail.example","port":465,"user":"u","password":"geheim","from":"Carillon <no-reply@platform.example>"}`, true},
		"without login": {`{"host":"mail.example","from":"no-reply@platform.example"}`, true},
		"no password":   {`{"host":"mail.example","user":"u","from":"no-reply@platform.example"}`, false},
		"no sender":     {`{"host":"mail.example","password":"geheim","user":"u"}`, false},
		"host with URL": {`{"host":"smtp://mail.example","password":"geheim","user":"u","from":"a@b.example"}`, false},
		"unknown field": {`{"host":"mail.example","from":"a@b.example","tls":false,"password":"geheim"}`, false},
		"no JSON":       {`host=mail.example password=geheim`, false},
	} {
		path := filepath.Join(t.TempDir(), "mail.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := readMailServer(path)
		if (err == nil) != c.good || (s != nil) != c.good {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
}
