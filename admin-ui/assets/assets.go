// Package assets holds styles, scripts, fonts and pictures of the pages for people.
// Each name has a hash of its content in it, so that a file never changes under its
// name.
package assets

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
)

// files is what `npm run build` writes. It is checked in, so that building the
// program needs no Node.js.
//
//go:embed dist
var files embed.FS

// Set gives the URLs of assets below a path.
type Set struct {
	below string
	names map[string]string
}

// Load returns the assets as they are served below a path, which ends in a slash.
func Load(below string) (*Set, error) {
	text, err := files.ReadFile("dist/manifest.json")
	if err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	s := &Set{below: below}
	if err := json.Unmarshal(text, &s.names); err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	return s, nil
}

// Path gives the URL of an asset by the name it has in the source.
func (s *Set) Path(name string) (string, error) {
	hashed, found := s.names[name]
	if !found {
		return "", fmt.Errorf("no asset %q", name)
	}
	return s.below + hashed, nil
}

// File is an asset to send.
type File struct {
	content []byte
	// packed is the content as gzip has it; nil if that is no smaller.
	packed      []byte
	contentType string
}

// all are the files of the program by their names, each compressed once. Pages are not
// compressed: beside what somebody typed they have what is nobody's business, and how well
// the one helps to compress the other would tell of it.
var all = sync.OnceValue(func() map[string]*File {
	set := map[string]*File{}
	entries, _ := files.ReadDir("dist") // it is in the program
	for _, e := range entries {
		kind := contentType(e.Name())
		content, err := files.ReadFile("dist/" + e.Name())
		if err != nil || kind == "" {
			continue
		}
		set[e.Name()] = &File{content: content, packed: pack(content), contentType: kind}
	}
	return set
})

// pack compresses a file, unless it is as small as it gets.
func pack(content []byte) []byte {
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // there is such a level
	_, _ = w.Write(content)                                    // a buffer takes everything
	_ = w.Close()
	if packed.Len() >= len(content) {
		return nil
	}
	return packed.Bytes()
}

// Find returns the asset of a name with its hash, if there is one.
func Find(name string) (*File, bool) {
	f, found := all()[path.Base(name)]
	return f, found
}

// Send answers with the file, which browsers may keep for ever, compressed if the browser
// takes that.
func (f *File) Send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	content := f.content
	if f.packed != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		content = f.packed
	}
	_, _ = w.Write(content) // the browser may have gone
}

// takesGzip reads a browser's list of encodings. One that is weighed is declined: only
// programs that do not want it do so.
func takesGzip(accept string) bool {
	for encoding := range strings.SplitSeq(accept, ",") {
		if strings.TrimSpace(encoding) == "gzip" {
			return true
		}
	}
	return false
}

func contentType(name string) string {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".woff2":
		return "font/woff2"
	}
	return ""
}
