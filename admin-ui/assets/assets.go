// Package assets holds styles, scripts, fonts and pictures of the pages for people.
// Each name has a hash of its content in it, so that a file never changes under its
// name.
package assets

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
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
	content     []byte
	contentType string
}

// Find returns the asset of a name with its hash, if there is one.
func Find(name string) (*File, bool) {
	kind := contentType(name)
	content, err := files.ReadFile("dist/" + path.Base(name))
	if err != nil || kind == "" {
		return nil, false
	}
	return &File{content: content, contentType: kind}, true
}

// Send answers with the file, which browsers may keep for ever.
func (f *File) Send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", f.contentType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(f.content) // the browser may have gone
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
