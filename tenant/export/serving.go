package export

import "strings"

// Serving is how an object is served, by whoever serves it: this program, a bucket or
// a CDN (key server protocol §5.5).
type Serving struct {
	// Type is its Content-Type, Caching its Cache-Control.
	Type, Caching string
}

// ServingOf tells by an object's name. Files never change: they may be kept for a day,
// and nobody need ask meanwhile whether they have. An index, like anything unknown, may be
// kept by whoever asks each time whether it is still the same: a phone that read an old
// one would learn of keys hours late.
func ServingOf(name string) Serving {
	if strings.HasSuffix(name, ".zip") {
		return Serving{Type: "application/zip", Caching: "public, max-age=86400, immutable"}
	}
	return Serving{Type: "text/plain", Caching: "no-cache, max-age=0"}
}
