package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"carillon/deploy/ceremony"
	"carillon/signing"
	"carillon/tenant"
)

type ceremonyCommands struct {
	Run    ceremonyRunCommand    `cmd:"" help:"Conduct a key ceremony by its file, with two people at this terminal; or resume it."`
	Verify ceremonyVerifyCommand `cmd:"" help:"Compare a ceremony's transcript with the audit logs; exit code 1 if they do not agree."`
}

type ceremonyRunCommand struct {
	File       string `arg:"" type:"existingfile" help:"The ceremony's file."`
	Transcript string `required:"" type:"path" help:"File of the transcript: made, or gone on with." placeholder:"FILE"`
	Rehearsal  bool   `help:"Rehearse: keys in a folder that is thrown away, no database, no audit log."`
	Database   string `env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
	RootKey    string `env:"CARILLON_ROOT_KEY" help:"The platform's root key, for steps that make a health authority's keys: a file, or a key of --key-services. It is opened when the first of them comes." placeholder:"KEY"`
	outsideKeys
}

func (c ceremonyRunCommand) Run(ctx context.Context) error {
	file, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	config := ceremony.Config{Console: ceremony.NewConsole(os.Stdin, os.Stdout), Program: programVersion(), Now: time.Now}
	if config.Binary, err = programDigest(); err != nil {
		return err
	}
	if c.Rehearsal {
		return ceremony.Conduct(ctx, config, file, c.Transcript)
	}
	if c.Database == "" {
		return errors.New("a ceremony needs --database, whose audit log tells of it; or rehearse it with --rehearsal")
	}
	keys := &openKeys{}
	defer func() { keys.Close() }()
	config.Custody = sync.OnceValues(func() (signing.Custody, error) {
		if c.RootKey == "" {
			return signing.Custody{}, ceremony.ErrNoRoot
		}
		opened, err := keyOptions{c.RootKey, c.outsideKeys}.open(ctx, false)
		if err != nil {
			return signing.Custody{}, err
		}
		keys = opened
		return keys.Custody, nil
	})
	return onPlatform{Database: c.Database}.with(ctx, func(db *tenant.DB) error {
		config.DB = db
		return ceremony.Conduct(ctx, config, file, c.Transcript)
	})
}

// programVersion is what the program says of itself.
func programVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value
		}
	}
	return version
}

// programDigest is the SHA-256 digest of the program's file.
func programDigest() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

type ceremonyVerifyCommand struct {
	onPlatform
	Transcript string `arg:"" type:"existingfile" help:"The transcript."`
}

func (c ceremonyVerifyCommand) Run(ctx context.Context) error {
	return c.with(ctx, func(db *tenant.DB) error {
		v, err := ceremony.Verify(ctx, db, c.Transcript)
		if err != nil {
			return err
		}
		state := "can be resumed"
		switch {
		case v.Ended:
			state = "ended"
		case v.Aborted:
			state = "was aborted"
		}
		fmt.Printf("The audit log confirms it: %q by %s and %s, %d of %d steps, %s.\nSHA-256 of its file: %s\n",
			v.Title, v.Participants[0], v.Participants[1], v.Done, v.Steps, state, v.File)
		return nil
	})
}
