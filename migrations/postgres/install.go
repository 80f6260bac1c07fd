package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrCannotInstall means that this machine offers no way to install Postgres.
var ErrCannotInstall = errors.New("PostgreSQL cannot be installed here: install it yourself, or give a connection string of a server")

// Install installs the server programs with Debian's packages: for the whole
// machine as root or by sudo, without creating a cluster; otherwise unpacked into
// privateDir. What it does is told to log.
func Install(ctx context.Context, privateDir string, log io.Writer) (BinDir, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", ErrCannotInstall
	}
	if dir, err := installed(privateDir); err == nil {
		return dir, trust(privateDir, nil)
	}
	if asRoot, ok := rootCommand(ctx); ok {
		return installSystem(ctx, asRoot, log)
	}
	return installPrivate(ctx, privateDir, log)
}

func rootCommand(ctx context.Context) (prefix []string, ok bool) {
	if os.Geteuid() == 0 {
		return nil, true
	}
	if exec.CommandContext(ctx, "sudo", "-n", "true").Run() == nil {
		return []string{"sudo", "-n"}, true
	}
	return nil, false
}

// noCluster keeps Debian's packages from creating and starting a server on the
// default port. Debian's own file of settings, where there is one, is respected.
const noCluster = `set -e
file=/etc/postgresql-common/createcluster.conf
mkdir -p /etc/postgresql-common
if ! grep -qs '^create_main_cluster *= *false' "$file"; then
  [ ! -f "$file" ] || sed -i '/^ *create_main_cluster/d' "$file"
  echo 'create_main_cluster = false' >>"$file"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold postgresql
`

func installSystem(ctx context.Context, asRoot []string, log io.Writer) (BinDir, error) {
	fmt.Fprintln(log, "installing the package postgresql")
	argv := append(asRoot, "sh", "-c", noCluster)
	if err := run(ctx, log, "", argv...); err != nil {
		return "", fmt.Errorf("install PostgreSQL: %w", err)
	}
	return Find("")
}

var serverPackage = regexp.MustCompile(`(?m)Depends: (postgresql-(\d+))$`)

func installPrivate(ctx context.Context, dir string, log io.Writer) (BinDir, error) {
	depends, err := exec.CommandContext(ctx, "apt-cache", "depends", "postgresql").Output()
	match := serverPackage.FindStringSubmatch(string(depends))
	if err != nil || match == nil {
		return "", ErrCannotInstall
	}
	fmt.Fprintf(log, "unpacking the package %s into %s\n", match[1], dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	download, err := os.MkdirTemp(dir, "download-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(download)
	if err := run(ctx, log, download, "apt-get", "download", "-qq", match[1], "libpq5"); err != nil {
		return "", fmt.Errorf("download PostgreSQL: %w", err)
	}
	archives, err := filepath.Glob(filepath.Join(download, "*.deb"))
	if err != nil {
		return "", err
	}
	for _, a := range archives {
		if err := run(ctx, log, download, "dpkg-deb", "-x", a, dir); err != nil {
			return "", fmt.Errorf("unpack PostgreSQL: %w", err)
		}
	}
	return installed(dir)
}

func installed(dir string) (BinDir, error) {
	for _, bin := range newestFirst(filepath.Join(dir, "usr/lib/postgresql/*/bin")) {
		if complete(bin) {
			return BinDir(bin), nil
		}
	}
	return "", ErrNotFound
}

// run runs a command and, if it fails, tells its last words.
func run(ctx context.Context, log io.Writer, dir string, argv ...string) error {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = io.MultiWriter(log, &said), io.MultiWriter(log, &said)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(said.String()))
	}
	return nil
}

func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
