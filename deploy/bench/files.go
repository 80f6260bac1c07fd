package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"carillon/tenant/export"
)

// What a tenant has to download: an index of two weeks of windows of four hours, and
// a file of a few thousand keys.
const (
	indexed  = 84
	fileName = "1700000000-1700014400-00001.zip"
	fileSize = 100_000
)

// makeFiles puts them where the server serves them from. Their bytes do not matter.
func (s *stack) makeFiles(ctx context.Context) error {
	store, err := export.NewFileStore(s.files())
	if err != nil {
		return err
	}
	names := make([]string, indexed)
	for i := range names {
		names[i] = fmt.Sprintf("%d-%d-00001.zip", 1_700_000_000+i*14_400, 1_700_000_000+(i+1)*14_400)
	}
	for _, t := range s.tenants {
		err := errors.Join(
			store.Replace(ctx, t.slug+"/"+export.IndexName, []byte(strings.Join(names, "\n"))),
			store.Replace(ctx, t.slug+"/"+fileName, random(fileSize)))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) files() string { return filepath.Join(s.dir, "exports") }

// floorFiles asks a bare server of the same files, which does nothing but open them
// and hand them to the standard library.
func (s *stack) floorFiles(ctx context.Context, name string, callers int, long time.Duration) (load, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return load{}, err
	}
	bare := &http.Server{Handler: http.HandlerFunc(s.serveBare), ReadHeaderTimeout: requestTimeout}
	done := make(chan error, 1)
	go func() { done <- bare.Serve(listener) }()
	all := make([]caller, callers)
	for i := range all {
		all[i].address = listener.Addr().String()
	}
	l := closedLoop(ctx, callers, long, func(_ context.Context, caller int) error {
		return all[caller].get("/" + s.anyone().slug + "/" + name) //nolint:contextcheck // a connection outlives its requests
	})
	for i := range all {
		all[i].close()
	}
	err = bare.Close()
	if ended := <-done; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return l, errors.Join(err, l.fatal())
}

func (s *stack) serveBare(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(filepath.Join(s.files(), filepath.FromSlash(r.URL.Path)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, info.Name(), info.ModTime(), f)
}
