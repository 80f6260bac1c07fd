package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"carillon/deploy/phone"
	"carillon/signing"
)

type phoneCommands struct {
	Flow       phoneFlowCommand       `cmd:"" default:"withargs" help:"The whole flow: a code, verify, certificate, publish and, given a public key, download."`
	SelfReport phoneSelfReportCommand `cmd:"" name:"self-report" help:"The whole flow with a code that the phone asks for itself. It reads the text message in the inbox of a development server."`
	Download   phoneDownloadCommand   `cmd:"" help:"Download the index and its files, and check every signature."`
	Watch      phoneWatchCommand      `cmd:"" help:"Download what is new again and again, as a phone does, and say what it brought."`
}

// phoneFiles is how a phone reaches export files, and whom it believes.
type phoneFiles struct {
	Index      string `help:"URL of the index." placeholder:"URL"`
	Base       string `help:"What precedes each name in the index, ending in a slash (default: the index's own folder)." placeholder:"URL"`
	Key        string `help:"File with the authority's public export key, PEM." placeholder:"PEM"`
	KeyID      string `name:"key-id" help:"Key ID that a signature must name."`
	KeyVersion string `name:"key-version" default:"v1" help:"Key version that a signature must name."`
}

var errNoFiles = errors.New("downloading needs --index, --key and --key-id")

// base is what precedes names.
func (c phoneFiles) base() string {
	if c.Base != "" {
		return c.Base
	}
	return c.Index[:strings.LastIndex(c.Index, "/")+1]
}

// trust is whom to believe: errNoFiles unless all is given.
func (c phoneFiles) trust() (phone.Trust, error) {
	if c.Index == "" || c.Key == "" || c.KeyID == "" {
		return phone.Trust{}, errNoFiles
	}
	text, err := os.ReadFile(c.Key)
	if err != nil {
		return phone.Trust{}, err
	}
	public, err := signing.ParsePublicPEM(text)
	if err != nil {
		return phone.Trust{}, fmt.Errorf("%s: %w", c.Key, err)
	}
	return phone.Trust{KeyID: c.KeyID, KeyVersion: c.KeyVersion, Key: public}, nil
}

// phoneServer is how a phone reaches a health authority, and what it publishes there.
type phoneServer struct {
	DeviceBase        string `name:"device-base" required:"" help:"Base URL of the device API, ending in a slash; api/verify follows." placeholder:"URL"`
	DeviceKey         string `name:"device-key" required:"" env:"CARILLON_DEVICE_KEY" help:"API key of kind device." placeholder:"KEY"`
	PublishURL        string `name:"publish-url" required:"" help:"Where keys are published." placeholder:"URL"`
	HealthAuthorityID string `name:"health-authority-id" required:"" help:"The authority's ID when publishing." placeholder:"ID"`
	Keys              int    `default:"14" help:"How many exposure keys to publish, a day each."`
	Today             bool   `help:"Let the newest key be today's, which a server may hold back until tomorrow."`

	phoneFiles `prefix:""`
	Wait       time.Duration `default:"2m" help:"How long to wait for the keys to appear in a file, if --index and the rest are given."`
}

// run takes a phone through a plan and prints each step as it ends.
func (c phoneServer) run(ctx context.Context, plan phone.Plan) error {
	plan.Keys, plan.Today, plan.Pause, plan.Done = c.Keys, c.Today, time.Second, printStep
	if c.Index != "" {
		trust, err := c.trust()
		if err != nil {
			return err
		}
		plan.Trust = &trust
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Wait)
		defer cancel()
	}
	p := phone.Phone{
		Server: phone.Server{
			DeviceBase: c.DeviceBase, DeviceKey: c.DeviceKey, PublishURL: c.PublishURL,
			HealthAuthorityID: c.HealthAuthorityID, IndexURL: c.Index, DownloadBase: c.base(),
		},
		Now: time.Now,
	}
	if _, err := p.Flow(ctx, plan); err != nil {
		return errReported // its step was printed
	}
	return nil
}

type phoneFlowCommand struct {
	phoneServer `prefix:""`
	Code        string `help:"The verification code. Without one, a code is issued, which needs --issue-base and --admin-key."`
	IssueBase   string `name:"issue-base" help:"Base URL of the admin API, ending in a slash." placeholder:"URL"`
	AdminKey    string `name:"admin-key" env:"CARILLON_ADMIN_KEY" help:"API key of kind admin." placeholder:"KEY"`
}

func (c phoneFlowCommand) Run(ctx context.Context) error {
	if c.Code == "" && (c.IssueBase == "" || c.AdminKey == "") {
		return errors.New("give --code, or --issue-base and --admin-key to issue one")
	}
	return c.run(ctx, phone.Plan{Issuer: phone.Issuer{Base: c.IssueBase, AdminKey: c.AdminKey}, Code: c.Code})
}

type phoneSelfReportCommand struct {
	phoneServer `prefix:""`
	Inbox       string `required:"" help:"Where a development server shows text messages as JSON: inboxURL in its endpoints.json." placeholder:"URL"`
	Number      string `help:"Telephone number, with + and country code, that has not reported lately. Without one, a random number." placeholder:"NUMBER"`
}

func (c phoneSelfReportCommand) Run(ctx context.Context) error {
	number := c.Number
	if number == "" {
		number = phone.RandomNumber()
	}
	return c.run(ctx, phone.Plan{Own: &phone.Own{Number: number, Inbox: phone.Inbox{URL: c.Inbox}}})
}

func printStep(s phone.Step) {
	result := "ok"
	if s.Err != nil {
		result = s.Err.Error()
	}
	fmt.Printf("%-40s %8s  %s\n", s.Name, s.Took.Round(time.Millisecond), result)
}

type phoneDownloadCommand struct {
	phoneFiles `prefix:""`
	Verify     bool `default:"true" help:"Check signatures. A phone believes no file without a valid one, so this cannot be off."`
}

func (c phoneDownloadCommand) Run(ctx context.Context) error {
	if !c.Verify {
		return errors.New("a phone believes no file without a valid signature: --verify cannot be off")
	}
	trust, err := c.trust()
	if err != nil {
		return err
	}
	p := phone.Phone{Server: phone.Server{IndexURL: c.Index, DownloadBase: c.base()}, Now: time.Now}
	files, err := p.Download(ctx, trust, nil)
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Printf("%s  %7d bytes  region %s  %6d keys  %d revised  signature valid\n", f.Name, f.Size, f.File.Region, len(f.File.Keys), len(f.File.Revised))
	}
	fmt.Printf("%d files, every signature valid\n", len(files))
	return nil
}

type phoneWatchCommand struct {
	phoneFiles `prefix:""`
	State      string        `type:"path" help:"File in which to remember what was downloaded; without one, everything is new at the start." placeholder:"FILE"`
	Every      time.Duration `default:"1m" help:"Pause between downloads."`
	Once       bool          `help:"Download once and end."`
}

func (c phoneWatchCommand) Run(ctx context.Context) error {
	trust, err := c.trust()
	if err != nil {
		return err
	}
	var memory phone.Memory
	if c.State != "" {
		if memory, err = phone.LoadMemory(c.State); err != nil {
			return err
		}
	}
	p := phone.Phone{Server: phone.Server{IndexURL: c.Index, DownloadBase: c.base()}, Now: time.Now}
	visit := func(d phone.Downloaded) error {
		fmt.Printf("%s  %s  %6d keys  %d revised\n", time.Now().UTC().Format(time.DateTime), d.Name, len(d.File.Keys), len(d.File.Revised))
		if c.State == "" {
			return nil
		}
		return phone.Memory{Last: d.Name}.Save(c.State)
	}
	if c.Once {
		return p.Fresh(ctx, trust, &memory, visit)
	}
	return p.Watch(ctx, trust, &memory, c.Every, visit, func(err error) { fmt.Fprintf(os.Stderr, "carillon: %v\n", err) })
}
