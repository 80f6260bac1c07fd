package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"

	"carillon/tenant/export"
)

// exportIndex serves the list of files of the configuration that every tenant has. It
// must be asked for anew each time (key server protocol §5.5).
func (s *Server) exportIndex(c *gin.Context) { s.serveObject(c, export.IndexName, contentTag) }

// exportFile serves one of its files.
func (s *Server) exportFile(c *gin.Context) { s.serveFile(c, c.Param("entry")) }

// furtherIndex serves the list of files of another configuration, which has a folder.
func (s *Server) furtherIndex(c *gin.Context) {
	s.serveObject(c, c.Param("entry")+"/"+export.IndexName, contentTag)
}

// furtherFile serves one of its files.
func (s *Server) furtherFile(c *gin.Context) { s.serveFile(c, c.Param("entry")+"/"+c.Param("file")) }

// serveFile serves one file. It never changes and may be kept (§5.5).
func (s *Server) serveFile(c *gin.Context, name string) {
	if !strings.HasSuffix(name, ".zip") {
		pageNotFound(c)
		return
	}
	s.serveObject(c, name, s.tags.of)
}

// serveObject serves an object of the tenant as a bucket would, with a tag and a time by
// which caches ask whether it is still the same.
func (s *Server) serveObject(c *gin.Context, name string, tagOf func(string, export.Object) (string, error)) {
	name = export.Prefix(of(c).tenant) + name
	o, err := s.config.Files.Open(c.Request.Context(), name)
	if err != nil {
		s.refuseDownload(c, err)
		return
	}
	defer o.Close()
	tag, err := tagOf(name, o)
	if err != nil {
		s.fail(c, err)
		return
	}
	h, serving := c.Writer.Header(), export.ServingOf(name)
	h.Set("ETag", tag)
	h.Set("Content-Type", serving.Type)
	h.Set("Cache-Control", serving.Caching)
	http.ServeContent(direct(c.Writer), c.Request, "", settled(o.Modified(), s.config.Now()), o)
}

// settled is a time that no later content of the object can have: times on the wire are
// whole seconds, and an index may be replaced twice in one (RFC 9110 §8.8.2.2). It is
// zero while that is possible.
func settled(modified, now time.Time) time.Time {
	if now.Sub(modified) < 2*time.Second {
		return time.Time{}
	}
	return modified
}

func (s *Server) refuseDownload(c *gin.Context, err error) {
	if _, known := downloadAnswers().find(err); !known {
		s.fail(c, err)
		return
	}
	pageNotFound(c)
}

// contentTag is the strong tag of an object: its digest. The object is read whole and
// stands at its beginning again.
func contentTag(name string, o export.Object) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(o, o.Size())); err != nil { // with a buffer no larger than that
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if _, err := o.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return `"` + hex.EncodeToString(h.Sum(nil)) + `"`, nil
}

// tags remembers the tags of files, which a name determines: a published name never
// gets other content.
type tags struct{ byName *lru.Cache[string, string] }

const tagsKept = 20_000

func newTags() *tags {
	byName, err := lru.New[string, string](tagsKept)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &tags{byName: byName}
}

func (t *tags) of(name string, o export.Object) (string, error) {
	if tag, known := t.byName.Get(name); known {
		return tag, nil
	}
	tag, err := contentTag(name, o)
	if err == nil {
		t.byName.Add(name, tag)
	}
	return tag, err
}
