// Package postgres runs a private PostgreSQL server for development and tests: it
// finds or installs the programs, keeps a server of its own in a folder of its
// own, and stops it when the program ends, however the program ends.
//
// The server listens on a unix socket inside that folder and nowhere else, so it
// can neither be mistaken for another server nor be reached by one. It never runs
// as root: started by root, it runs as the user postgres, or nobody. A server that
// is killed is started again; callers reconnect. It is no way to run a service.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver
)

// Config says what to run, and where.
type Config struct {
	// BinDir holds the server programs: see [Find].
	BinDir BinDir
	// Dir keeps the server's data, socket and log. It is made if it is not there,
	// and belongs to the server alone.
	Dir string
	// Durable writes to disk as a real server does. Without it a power failure may
	// corrupt the data, and everything is several times faster: for tests.
	Durable bool
	// MaxConnections is Postgres's limit; zero means 100.
	MaxConnections int
}

// What keeps a server from starting.
var (
	// ErrBusy means that another program uses the folder.
	ErrBusy = errors.New("another program is using this Postgres folder")
	// ErrForeign means that the folder belongs to another user, or is open to others.
	ErrForeign = errors.New("the folder belongs to another user, or others may write into it")
	// ErrUnreachable means that the user the server runs as cannot enter the folder.
	ErrUnreachable = errors.New("the user that Postgres runs as cannot reach its folder: make every folder above it passable (chmod o+x), or choose another one")
)

// Instance is a running server.
type Instance struct {
	config Config
	socket string
	owner  *syscall.Credential // nil: this program's own user
	lock   *os.File

	stop    chan struct{} // closed by Stop
	done    chan struct{} // closed when the server is down for good
	stopped sync.Once

	mu      sync.Mutex
	process *os.Process // the running server, or nil
}

const (
	startTimeout = 60 * time.Second
	// A socket's path has at most 107 bytes on Linux, 103 elsewhere.
	maxSocketPath = 103
	socketName    = ".s.PGSQL.5432"
)

// Start makes the folder if need be, starts the server and waits until it
// answers. The caller stops it.
func Start(ctx context.Context, c Config) (*Instance, error) {
	if c.MaxConnections == 0 {
		c.MaxConnections = 100
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	c.Dir = dir
	p := &Instance{config: c, stop: make(chan struct{}), done: make(chan struct{})}
	if err := p.prepare(ctx); err != nil {
		return nil, errors.Join(err, p.release())
	}
	exits := make(chan exit, 1)
	p.launch(exits)
	if err := p.await(ctx, exits); err != nil {
		p.kill(exits)
		return nil, errors.Join(err, p.release())
	}
	go p.supervise(exits)
	return p, nil
}

func (p *Instance) prepare(ctx context.Context) error {
	if err := os.MkdirAll(p.config.Dir, 0o755); err != nil {
		return err
	}
	var err error
	if p.owner, err = serverUser(); err != nil {
		return err
	}
	if err := trust(p.config.Dir, p.owner); err != nil {
		return err
	}
	if err := p.lockDir(); err != nil {
		return err
	}
	if err := p.placeSocket(); err != nil {
		return err
	}
	for _, dir := range []string{p.config.Dir, p.socket} {
		if err := p.give(dir); err != nil {
			return err
		}
	}
	if err := p.command(ctx, "/bin/sh", "-c", `test -w "$1"`, "sh", p.config.Dir).Run(); err != nil {
		return fmt.Errorf("%s: %w", p.config.Dir, ErrUnreachable)
	}
	return p.initialise(ctx)
}

// serverUser is whom to run the server as, if this program is root.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("a user to run Postgres as: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("a user to run Postgres as: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// trust refuses a folder, or a link to one, that somebody else put there or may
// write into: it would get at the data, or have root give away what it points to.
func trust(path string, server *syscall.Credential) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	owned := ok && (int(stat.Uid) == os.Geteuid() || server != nil && stat.Uid == server.Uid)
	public := info.Mode()&os.ModeSymlink == 0 && info.Mode().Perm()&0o002 != 0
	if !owned || public {
		return fmt.Errorf("%s: %w", path, ErrForeign)
	}
	return nil
}

// lockDir holds the folder for as long as this program lives.
func (p *Instance) lockDir() error {
	f, err := os.OpenFile(filepath.Join(p.config.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", p.config.Dir, ErrBusy), f.Close())
	}
	p.lock = f
	return nil
}

// placeSocket puts the socket into the folder, or, if that path is too long for
// one, into a new folder below the system's temporary one.
func (p *Instance) placeSocket() error {
	p.socket = filepath.Join(p.config.Dir, "socket")
	if len(filepath.Join(p.socket, socketName)) > maxSocketPath {
		short, err := os.MkdirTemp("", "carillon-")
		p.socket = short
		return err
	}
	return os.MkdirAll(p.socket, 0o700)
}

func (p *Instance) give(path string) error {
	if p.owner == nil {
		return nil
	}
	return os.Chown(path, int(p.owner.Uid), int(p.owner.Gid))
}

// command runs as the server's user, in a process group of its own: an interrupt
// from the terminal is for this program, which stops the server when it is ready.
func (p *Instance) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.owner, Setpgid: true}
	return cmd
}

func (p *Instance) data() string { return filepath.Join(p.config.Dir, "data") }

// initialise makes the data folder whole or not at all: an interrupted attempt
// leaves only what the next one removes.
func (p *Instance) initialise(ctx context.Context) error {
	if _, err := os.Stat(p.data()); err == nil {
		return nil
	}
	unfinished := p.data() + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	args := []string{"-D", unfinished, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"}
	if !p.config.Durable {
		args = append(args, "--no-sync")
	}
	if said, err := p.command(ctx, p.config.BinDir.program("initdb"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, lastLines(string(said)))
	}
	return os.Rename(unfinished, p.data())
}

func (p *Instance) serverArgs() []string {
	args := []string{
		"-D", p.data(), "-k", p.socket,
		"-c", "listen_addresses=", "-c", "unix_socket_permissions=0700", "-c", "port=5432",
		"-c", "max_connections=" + strconv.Itoa(p.config.MaxConnections),
		"-c", "log_statement=none", "-c", "log_min_error_statement=panic", // statements may hold secrets
	}
	if !p.config.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	return args
}

// DSN is the connection string for a database of the server and one of its roles;
// an empty role is the superuser.
func (p *Instance) DSN(database, role string) string {
	if role == "" {
		role = "postgres"
	}
	return fmt.Sprintf("host=%s port=5432 dbname=%s user=%s sslmode=disable binary_parameters=yes", quote(p.socket), quote(database), quote(role))
}

func quote(word string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(word) + "'"
}

// Done is closed when the server is down for good.
func (p *Instance) Done() <-chan struct{} { return p.done }

// await waits until the server answers, and answers for our data. A server that
// is still ending after its parent was killed holds the folder for a moment;
// starting is tried again for that reason and no other.
func (p *Instance) await(ctx context.Context, exits chan exit) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	db, err := sql.Open("postgres", p.DSN("postgres", ""))
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w", ctx.Err())
		case e := <-exits:
			if !p.stillHeld() {
				return fmt.Errorf("postgres ended: %w: %s", e.err, p.lastWords())
			}
			<-tick.C
			p.launch(exits)
		case <-tick.C:
			var dir string
			if err := db.QueryRowContext(ctx, "show data_directory").Scan(&dir); err != nil {
				continue
			}
			if dir != p.data() {
				return fmt.Errorf("the server that answers keeps its data in %s, not %s", dir, p.data())
			}
			return nil
		}
	}
}

// stillHeld reports whether the server ended because another one is just ending in
// the same folder.
func (p *Instance) stillHeld() bool {
	words := p.tail()
	return strings.Contains(words, "pre-existing shared memory block") ||
		strings.Contains(words, `lock file "postmaster.pid" already exists`)
}

func (p *Instance) logFile() string { return filepath.Join(p.config.Dir, "log") }

// lastWords are the last lines of the server's log.
func (p *Instance) lastWords() string { return lastLines(p.tail()) }

// tail is the end of the server's log.
func (p *Instance) tail() string {
	f, err := os.Open(p.logFile())
	if err != nil {
		return ""
	}
	defer f.Close()
	const size = 2000
	if info, err := f.Stat(); err == nil && info.Size() > size {
		_, _ = f.Seek(-size, io.SeekEnd) // from the beginning will do, too
	}
	text, _ := io.ReadAll(f) // what there is
	return string(text)
}
