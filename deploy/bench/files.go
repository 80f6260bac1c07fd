package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
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

// floorFiles asks a bare server of the same files: a process of its own, as ours is, which
// does nothing but open them and hand them to the standard library.
func (s *stack) floorFiles(ctx context.Context, name string, callers int, long time.Duration) (load, error) {
	address, stop, err := s.startBare(ctx)
	if err != nil {
		return load{}, err
	}
	defer stop()
	all := make([]caller, callers)
	for i := range all {
		all[i].address = address
		defer all[i].close()
	}
	l := closedLoop(ctx, callers, long, func(_ context.Context, caller int) error {
		return all[caller].get("/" + s.anyone().slug + "/" + name) //nolint:contextcheck // a connection outlives its requests
	})
	return l, l.fatal()
}

// startBare returns where the bare server listens. It ends when its standard input does.
func (s *stack) startBare(ctx context.Context) (address string, stop func(), err error) {
	process := exec.CommandContext(ctx, s.bare[0], append(s.bare[1:len(s.bare):len(s.bare)], s.files())...)
	process.Stderr = os.Stderr
	in, err := process.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := process.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = process.Wait() // it has nothing to say
	}
	if _, err := fmt.Fscanln(out, &address); err != nil {
		stop()
		return "", nil, fmt.Errorf("bare server: %w", err)
	}
	return address, stop, nil
}

// ServeBare serves the files of a folder by the standard library, writes where, and ends
// when there is nothing more to be read.
func ServeBare(folder string, until io.Reader, where io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	bare := &http.Server{Handler: bareFiles(folder), ReadHeaderTimeout: requestTimeout}
	done := make(chan error, 1)
	go func() { done <- bare.Serve(listener) }()
	_, err = fmt.Fprintln(where, listener.Addr())
	if err == nil {
		_, err = io.Copy(io.Discard, until)
	}
	err = errors.Join(err, bare.Close())
	if ended := <-done; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

type bareFiles string

func (folder bareFiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(filepath.Join(string(folder), filepath.FromSlash(r.URL.Path)))
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
