package postgres

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bin is this machine's Postgres; without one the tests fail.
func bin(t *testing.T) BinDir {
	t.Helper()
	b, err := Find(os.Getenv("CARILLON_POSTGRES_BIN"))
	if errors.Is(err, ErrNotFound) {
		b, err = Install(t.Context(), filepath.Join(os.TempDir(), "carillon-postgres-programs"), os.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// folder is one that the server's own user can reach.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "carillon-launcher-") //nolint:usetesting // t.TempDir lets nobody else in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "pg")
}

func start(t *testing.T, dir string) *Instance {
	t.Helper()
	return startAs(t, Config{BinDir: bin(t), Dir: dir})
}

func startAs(t *testing.T, c Config) *Instance {
	t.Helper()
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return p
}

func connect(t *testing.T, p *Instance) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", p.DSN("postgres", ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func text(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var s string
	if err := db.QueryRowContext(t.Context(), query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

func TestDataSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	p := start(t, dir)
	if _, err := connect(t, p).ExecContext(t.Context(), `create table kept (x text); insert into kept values ('here')`); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("a stopped server is not done")
	}
	if got := text(t, connect(t, start(t, dir)), `select x from kept`); got != "here" {
		t.Errorf("found %q", got)
	}
}

func TestListensOnItsOwnSocketOnly(t *testing.T) {
	t.Parallel()
	db := connect(t, start(t, folder(t)))
	if got := text(t, db, `show listen_addresses`); got != "" {
		t.Errorf("listens on %q", got)
	}
	if got := text(t, db, `show unix_socket_permissions`); got != "0700" {
		t.Errorf("its socket has permissions %s", got)
	}
}

func TestNeverRunsAsRoot(t *testing.T) {
	t.Parallel()
	p := start(t, folder(t))
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid(t, p)))
	if err != nil {
		t.Fatal(err)
	}
	if info.Sys().(*syscall.Stat_t).Uid == 0 {
		t.Error("the server runs as root")
	}
}

func pid(t *testing.T, p *Instance) int {
	t.Helper()
	return pidFile(t, p.data())
}

func pidFile(t *testing.T, data string) int {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(file), "\n")
	n, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A server that is killed comes back by itself, with its data.
func TestKilledServerComesBack(t *testing.T) {
	t.Parallel()
	p := startAs(t, Config{BinDir: bin(t), Dir: folder(t), Durable: true})
	db := connect(t, p)
	if _, err := db.ExecContext(t.Context(), `create table kept (x text); insert into kept values ('here')`); err != nil {
		t.Fatal(err)
	}
	const born = `select pg_postmaster_start_time()::text`
	before := text(t, db, born)
	if err := syscall.Kill(pid(t, p), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Processes of the dead server may answer for a moment.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for now := before; now == before; {
		if err := ctx.Err(); err != nil {
			t.Fatalf("it did not come back: %v", err)
		}
		_ = db.QueryRowContext(ctx, born).Scan(&now) // until it works
	}
	if got := text(t, db, `select x from kept`); got != "here" {
		t.Errorf("found %q", got)
	}
}

func TestTwoProgramsCannotShareAFolder(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	start(t, dir)
	_, err := Start(t.Context(), Config{BinDir: bin(t), Dir: dir})
	if !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
}

func TestUnreachableFolderIsExplained(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: the server runs as this user, who reaches its own folders")
		return
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{BinDir: bin(t), Dir: filepath.Join(closed, "pg")})
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

// An interrupted initdb leaves what the next start clears away.
func TestUnfinishedDataAreMadeAnew(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.unfinished", "base"), 0o755); err != nil {
		t.Fatal(err)
	}
	connectable := connect(t, start(t, dir))
	if got := text(t, connectable, `select 'works'`); got != "works" {
		t.Error(got)
	}
}

// A path too long for a socket gets a short one elsewhere.
func TestLongPathGetsAShortSocket(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), strings.Repeat("long", 20))
	p := start(t, dir)
	if strings.HasPrefix(p.socket, dir) {
		t.Errorf("the socket is in %s", p.socket)
	}
	text(t, connect(t, p), `select 'works'`)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's folder is left: %v", err)
	}
}

const childDir = "CARILLON_TEST_CHILD_DIR"

// TestMain can also be the parent that is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	b, err := Find(os.Getenv("CARILLON_POSTGRES_BIN"))
	if err == nil {
		_, err = Start(context.Background(), Config{BinDir: b, Dir: dir})
	}
	fmt.Println("started", err)
	select {}
}

// The server does not outlive a parent that was killed, and its folder is of use to
// the next one.
func TestKilledParentTakesTheServerAlong(t *testing.T) {
	t.Parallel()
	bin(t)
	dir := folder(t)
	for range 3 {
		server := killParent(t, dir)
		p := start(t, dir)
		if pid(t, p) == server {
			t.Fatal("the old server answers")
		}
		if runs(server) {
			t.Error("the old server is still there")
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// runs reports whether a process does something: one that has ended but was not
// waited for has no command line.
func runs(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(line) > 0
}

// killParent starts a server by another program, kills that, and returns the server's ID.
func killParent(t *testing.T, dir string) int {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "started <nil>\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	server := pidFile(t, filepath.Join(dir, "data"))
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	return server
}

func TestFindRefusesAnEmptyFolder(t *testing.T) {
	t.Parallel()
	if _, err := Find(t.TempDir()); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// A folder with a guessable name may have been put there by somebody else.
func TestForeignFolderIsRefused(t *testing.T) {
	t.Parallel()
	base := folder(t)
	ours, public := filepath.Join(base, "ours"), filepath.Join(base, "public")
	if err := errors.Join(os.MkdirAll(ours, 0o755), os.Mkdir(public, 0o755), os.Chmod(public, 0o777)); err != nil {
		t.Fatal(err)
	}
	refused := []string{public}
	if os.Geteuid() == 0 {
		planted := filepath.Join(base, "planted")
		if err := errors.Join(os.Symlink(ours, planted), os.Lchown(planted, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		refused = append(refused, planted)
	}
	for _, dir := range refused {
		if _, err := Start(t.Context(), Config{BinDir: bin(t), Dir: dir}); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: got %v, want ErrForeign", dir, err)
		}
	}
	if err := trust(ours, nil); err != nil {
		t.Error(err)
	}
}
