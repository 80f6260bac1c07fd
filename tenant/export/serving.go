package export

import "strings"

// Serving is how an object is served, by whoever serves it: this program, a bucket or
// a CDN (key server protocol §5.5).
type Serving struct {
	// Type is its Content-Type, Caching its Cache-Control.
	Type, Caching string
}

// ServingOf tells by an object's name. Files never change and may be kept for a day;
// an index, like anything unknown, must be asked for anew each time.
func ServingOf(name string) Serving {
	if strings.HasSuffix(name, ".zip") {
		return Serving{Type: "application/zip", Caching: "public, max-age=86400"}
	}
	return Serving{Type: "text/plain", Caching: "no-cache, max-age=0"}
}
