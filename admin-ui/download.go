package adminui

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"carillon/tenant"
)

// download is a file that is made for one request.
type download struct {
	name, kind string
	// write makes it, and may hold a connection to the database meanwhile.
	write func(io.Writer) error
	// size is that of a file which is only read, in bytes: it is sent as it is read, and
	// takes no room. Zero for one that is made first.
	size int64
}

const (
	// A file takes room on the disk until it is sent, and a connection while it is made.
	maxDownloads       = 8
	maxTenantDownloads = 2
	// downloadWait is how many seconds somebody should wait who came when too many were
	// on their way: about as long as the server gives a reader.
	downloadWait = 60
	// stalled is how long a browser may take no byte of a file that is sent as it is read.
	stalled = time.Minute
)

// downloads counts the files that are being made or sent.
type downloads struct {
	mu  sync.Mutex
	all int               // guarded by mu
	of  map[tenant.ID]int // guarded by mu
}

// begin reports whether there may be one more of a tenant. Then end must be called.
func (d *downloads) begin(id tenant.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= maxDownloads || d.of[id] >= maxTenantDownloads {
		return false
	}
	if d.of == nil {
		d.of = map[tenant.ID]int{}
	}
	d.all++
	d.of[id]++
	return true
}

func (d *downloads) end(id tenant.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all--
	if d.of[id]--; d.of[id] == 0 {
		delete(d.of, id)
	}
}

// sendDownload makes the file first and sends it then: whatever fails becomes an error
// page, and whoever reads slowly keeps nobody from the database.
func (s *Server) sendDownload(ctx context.Context, w http.ResponseWriter, v *visit, d *download) {
	if !s.downloads.begin(v.tenant.ID) {
		s.sendPage(ctx, w, v, s.answerError(ctx, w, v, limited{downloadWait}))
		return
	}
	defer s.downloads.end(v.tenant.ID)
	if d.size > 0 {
		s.sendAsRead(ctx, w, d)
		return
	}
	file, size, err := spool(d.write)
	if err != nil {
		s.sendPage(ctx, w, v, s.answerError(ctx, w, v, err))
		return
	}
	defer file.Close()
	d.announce(w, size)
	_, _ = io.Copy(patientWriter{w, http.NewResponseController(w)}, file) // the browser may have gone
}

func (d *download) announce(w http.ResponseWriter, size int64) {
	h := w.Header()
	h.Set("Content-Type", d.kind)
	h.Set("Content-Disposition", `attachment; filename="`+d.name+`"`)
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// sendAsRead sends a file as it is read. What fails on the way leaves it shorter than was
// announced, by which the browser knows.
func (s *Server) sendAsRead(ctx context.Context, w http.ResponseWriter, d *download) {
	d.announce(w, d.size)
	if err := d.write(patientWriter{w, http.NewResponseController(w)}); err != nil {
		s.logFailure(ctx, requestID(w), err)
	}
}

// patientWriter gives each write a time of its own.
type patientWriter struct {
	to         io.Writer
	connection *http.ResponseController
}

func (p patientWriter) Write(b []byte) (int, error) {
	_ = p.connection.SetWriteDeadline(time.Now().Add(stalled)) //nolint:forbidigo // the connection's clock; a writer without deadlines has none to move
	return p.to.Write(b)
}

// spool keeps what write makes in a file that has no name any more, so that it goes with
// the process.
func spool(write func(io.Writer) error) (f *os.File, size int64, err error) {
	if f, err = os.CreateTemp("", "carillon-download-*"); err != nil {
		return nil, 0, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		b := bufio.NewWriter(f)
		err = errors.Join(write(b), b.Flush())
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}
