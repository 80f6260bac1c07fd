package adminui

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
)

// assetFiles is what `npm run build` writes. It is checked in, so that building the
// program needs no Node.js.
//
//go:embed assets/dist
var assetFiles embed.FS

// assets are styles, scripts, fonts and pictures. Each name has a hash of its
// content in it, so that a file never changes under its name.
type assets struct{ names map[string]string }

func loadAssets() (*assets, error) {
	text, err := assetFiles.ReadFile("assets/dist/manifest.json")
	if err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	a := &assets{}
	if err := json.Unmarshal(text, &a.names); err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	return a, nil
}

// path gives the URL of an asset by the name it has in the source.
func (a *assets) path(name string) (string, error) {
	hashed, found := a.names[name]
	if !found {
		return "", fmt.Errorf("no asset %q", name)
	}
	return "/assets/" + hashed, nil
}

// file is an asset to send.
type file struct {
	content     []byte
	contentType string
}

func (f *file) send(w http.ResponseWriter) {
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

func (s *Server) asset(v *visit) (answer, error) {
	name := v.params.ByName("name")
	kind := contentType(name)
	content, err := assetFiles.ReadFile("assets/dist/" + path.Base(name))
	if err != nil || kind == "" {
		return answer{}, errNoPage
	}
	return answer{file: &file{content: content, contentType: kind}}, nil
}
