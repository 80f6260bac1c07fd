// Package s3test runs a real S3 server for tests: versitygw, built from the module file
// that deploy/ keeps for it, over a folder of the test's own.
package s3test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"carillon/tenant/export/s3store"
)

const (
	bucket    = "exports"
	accessKey = "carillon-test"
	secretKey = "carillon-test-secret"
)

// Start starts a server that ends with the test, and returns the way to an empty
// bucket on it.
func Start(t testing.TB) s3store.Config {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatalf("no S3 server to test with: %v", err)
	}
	dir := t.TempDir()
	for _, folder := range []string{filepath.Join("data", bucket), "sidecar"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	log := &strings.Builder{}
	server := exec.Command(program, "--access", accessKey, "--secret", secretKey, "--port", address, "--quiet",
		"posix", "--sidecar", filepath.Join(dir, "sidecar"), filepath.Join(dir, "data"))
	server.Stdout, server.Stderr = log, log
	ended := launch(t, server)
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-ended
	})
	await(t, address, ended, log)
	return s3store.Config{
		Endpoint: address, Region: "us-east-1", Bucket: bucket, AccessKey: accessKey, SecretKey: secretKey,
	}
}

// launch starts the server so that the kernel ends it with us. The kernel watches the
// thread that started it, which therefore must stay.
func launch(t testing.TB, server *exec.Cmd) (ended <-chan struct{}) {
	t.Helper()
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		err := server.Start()
		started <- err
		if err == nil {
			_ = server.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("S3 server: %v", err)
	}
	return done
}

const startTimeout = time.Minute

func await(t testing.TB, address string, ended <-chan struct{}, log *strings.Builder) {
	t.Helper()
	deadline := time.After(startTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("the S3 server ended: %s", log)
		case <-deadline:
			t.Fatalf("the S3 server does not listen: %v", err)
		case <-tick.C:
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const (
	moduleFile   = "deploy/s3test.mod"
	buildTimeout = 15 * time.Minute
)

// built is the server's program, which the go command keeps in its cache.
var built = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	root, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", "carillon")
	if err != nil {
		return "", err
	}
	return goCommand(ctx, root, "tool", "-modfile="+moduleFile, "-n", "versitygw")
})

func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	var failure strings.Builder
	command.Stderr = &failure
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, failure.String())
	}
	return strings.TrimSpace(string(out)), nil
}
