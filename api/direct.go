package api

import (
	"io"
	"net/http"

	"github.com/gin-gonic/gin"
)

// direct returns a writer that can let the kernel hand a file to the connection, which
// gin's own hides.
func direct(w gin.ResponseWriter) http.ResponseWriter {
	hiding, ok := w.(interface{ Unwrap() http.ResponseWriter })
	if !ok {
		return w
	}
	below, ok := hiding.Unwrap().(io.ReaderFrom)
	if !ok {
		return w
	}
	return directWriter{ResponseWriter: w, below: below}
}

type directWriter struct {
	gin.ResponseWriter
	below io.ReaderFrom
}

func (w directWriter) ReadFrom(body io.Reader) (int64, error) {
	w.WriteHeaderNow()
	return w.below.ReadFrom(body)
}
