package service

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"testing"

	"carillon/tenant/archive"
)

// rewritten is an archive in which one file has other content, as the manifest of a liar
// says; it is not there at all if the content is "drop".
func rewritten(t *testing.T, file []byte, name, content string) []byte {
	t.Helper()
	from, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var to bytes.Buffer
	w := zip.NewWriter(&to)
	put := func(name string, body []byte) {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var m archive.Manifest
	for _, f := range from.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case f.Name == "manifest.json":
			if err := json.Unmarshal(body, &m); err != nil {
				t.Fatal(err)
			}
		case f.Name != name:
			put(f.Name, body)
		case content != "drop":
			put(name, []byte(content))
		}
	}
	var entries []archive.Entry
	for _, e := range m.Entries {
		if e.Name == name {
			if content == "drop" {
				continue
			}
			sum := sha256.Sum256([]byte(content))
			e.Size, e.SHA256 = int64(len(content)), hex.EncodeToString(sum[:])
		}
		entries = append(entries, e)
	}
	m.Entries = entries
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	put("manifest.json", body)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}
