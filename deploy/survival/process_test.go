package survival

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"carillon/deploy/service"
	"carillon/signing"
	"carillon/tenant/export"
	"carillon/tenant/message"
)

// isProcess tells a child to be a process of the service; its orders come on standard
// input.
const isProcess = "CARILLON_TEST_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(isProcess) == "" {
		flag.Parse()
		os.Exit(m.Run())
	}
	var o orders
	err := json.NewDecoder(os.Stdin).Decode(&o)
	if err == nil {
		err = o.obey()
	}
	fmt.Fprintln(os.Stderr, "the process came to its end:", err)
	os.Exit(1)
}

// orders are what a process needs to know.
type orders struct {
	// DSN has the word ROLE where the database role belongs.
	DSN, Root, Files, Listen string
	Clock                    clock
}

// clock runs faster than the world's, so that windows and leases are short.
type clock struct {
	Start time.Time
	Speed int
}

func (c clock) now() time.Time {
	return c.Start.Add(time.Since(c.Start) * time.Duration(c.Speed))
}

// obey serves until the process is killed, or told to stop.
func (o orders) obey() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	root, err := signing.OpenRootFile(o.Root)
	if err != nil {
		return err
	}
	files, err := export.NewFileStore(o.Files)
	if err != nil {
		return err
	}
	s, err := service.Open(ctx, service.Config{
		Roles: []service.Role{service.Device, service.Issuer, service.Publish, service.Jobs},
		DSN:   func(role string) (string, error) { return strings.ReplaceAll(o.DSN, "ROLE", role), nil },
		Root:  signing.Custody{Root: root}, Files: files, BaseURL: "http://" + o.Listen, Sender: message.None{}, NoLimits: true,
		JobInterval: 4 * time.Second, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), Now: o.Clock.now,
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	return s.Run(ctx, l, nil)
}

// process is a child that is started again and again.
type process struct {
	t      *testing.T
	orders orders
	log    lines
	child  *exec.Cmd
	ended  chan struct{}
}

// lines counts what a process writes, but for the requests that it answers.
type lines struct {
	mu    sync.Mutex
	count int
	tail  []byte
	taken int // batches that were another worker's by then
}

var ofRequest = []byte(`"msg":"request`)

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(p) {
		if bytes.Contains(line, ofRequest) {
			continue
		}
		if bytes.Contains(line, []byte("taken over")) {
			l.taken++
		}
		l.count++
		l.tail = append(l.tail, line...)
		if n := len(l.tail); n > 1<<16 {
			l.tail = l.tail[n-1<<15:]
		}
	}
	return len(p), nil
}

func (l *lines) read() (count, taken int, tail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, l.taken, string(l.tail[max(0, len(l.tail)-4000):])
}

func (p *process) base() string { return "http://" + p.orders.Listen }

func (p *process) start() {
	p.t.Helper()
	stdin, err := json.Marshal(p.orders)
	if err != nil {
		p.t.Fatal(err)
	}
	p.child = exec.CommandContext(p.t.Context(), os.Args[0])
	p.child.Env = append(os.Environ(), isProcess+"=1")
	p.child.Stdin = bytes.NewReader(stdin)
	p.child.Stderr = &p.log
	if err := p.child.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func(child *exec.Cmd, ended chan struct{}) {
		_ = child.Wait() // it is killed
		close(ended)
	}(p.child, p.ended)
}

// kill ends the process at once: nothing deferred runs, nothing is flushed.
func (p *process) kill() {
	_ = p.child.Process.Kill()
	<-p.ended
}

// ready waits until the process answers that it can work.
func (p *process) ready() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	for !p.answers(ctx) {
		select {
		case <-p.ended:
			_, _, tail := p.log.read()
			p.t.Fatalf("a process has ended by itself: %s", tail)
		case <-ctx.Done():
			_, _, tail := p.log.read()
			p.t.Fatalf("a process does not become ready: %s", tail)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) answers(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base()+"/ready", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK
}
