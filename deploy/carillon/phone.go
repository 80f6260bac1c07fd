package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"carillon/deploy/phone"
	"carillon/signing"
)

type phoneCommands struct {
	Upload   phoneUploadCommand   `cmd:"" help:"Take a code (or issue one) through verify, certificate and publish."`
	Download phoneDownloadCommand `cmd:"" help:"Download the index and its files."`
}

type phoneUploadCommand struct {
	DeviceBase        string `name:"device-base" required:"" help:"Base URL of the device API, ending in a slash; api/verify follows." placeholder:"URL"`
	DeviceKey         string `name:"device-key" required:"" env:"CARILLON_DEVICE_KEY" help:"API key of kind device." placeholder:"KEY"`
	PublishURL        string `name:"publish-url" required:"" help:"Where keys are published." placeholder:"URL"`
	HealthAuthorityID string `name:"health-authority-id" required:"" help:"The authority's ID when publishing." placeholder:"ID"`
	Code              string `help:"The verification code. Without one, a code is issued, which needs --issue-base and --admin-key."`
	IssueBase         string `name:"issue-base" help:"Base URL of the admin API, ending in a slash." placeholder:"URL"`
	AdminKey          string `name:"admin-key" env:"CARILLON_ADMIN_KEY" help:"API key of kind admin." placeholder:"KEY"`
	Keys              int    `default:"14" help:"How many exposure keys to publish, a day each."`
	Today             bool   `help:"Let the newest key be today's, which a server holds back until tomorrow."`
}

func (c phoneUploadCommand) Run(ctx context.Context) error {
	p := phone.Phone{
		Server: phone.Server{
			DeviceBase: c.DeviceBase, DeviceKey: c.DeviceKey, PublishURL: c.PublishURL, HealthAuthorityID: c.HealthAuthorityID,
		},
		Now: time.Now,
	}
	code, err := c.code(ctx)
	if err != nil {
		return err
	}
	diagnosis, err := p.Verify(ctx, code)
	if err != nil {
		return err
	}
	fmt.Printf("verify       test type %s, symptoms since %s\n", diagnosis.TestType, orNone(diagnosis.SymptomDate))
	keys := p.NewKeys(c.Keys, c.Today)
	certificate, err := p.Certificate(ctx, diagnosis.Token, keys)
	if err != nil {
		return err
	}
	fmt.Printf("certificate  over %d keys\n", len(keys.TEKs))
	answer, err := p.Publish(ctx, keys, certificate, "")
	if err != nil {
		return err
	}
	fmt.Printf("publish      %d keys inserted, %d warnings\n", answer.Inserted, len(answer.Warnings))
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "no date"
	}
	return s
}

func (c phoneUploadCommand) code(ctx context.Context) (string, error) {
	if c.Code != "" {
		return c.Code, nil
	}
	if c.IssueBase == "" || c.AdminKey == "" {
		return "", errors.New("give --code, or --issue-base and --admin-key to issue one")
	}
	const onsetAge = 48 * time.Hour
	issued, err := phone.Issuer{Base: c.IssueBase, AdminKey: c.AdminKey}.Issue(ctx, "confirmed", time.Now().Add(-onsetAge))
	if err != nil {
		return "", err
	}
	fmt.Printf("issue        code %s\n", issued.UUID)
	return issued.Code, nil
}

type phoneDownloadCommand struct {
	Index      string `required:"" help:"URL of the index." placeholder:"URL"`
	Base       string `required:"" help:"What precedes each name in the index, ending in a slash." placeholder:"URL"`
	Key        string `required:"" type:"existingfile" help:"The authority's public export key, PEM." placeholder:"PEM"`
	KeyID      string `name:"key-id" required:"" help:"Key ID that a signature must name."`
	KeyVersion string `name:"key-version" default:"v1" help:"Key version that a signature must name."`
	Verify     bool   `default:"true" negatable:"" hidden:"" help:"Check signatures; a phone always does."`
}

func (c phoneDownloadCommand) Run(ctx context.Context) error {
	text, err := os.ReadFile(c.Key)
	if err != nil {
		return err
	}
	public, err := signing.ParsePublicPEM(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Key, err)
	}
	p := phone.Phone{Server: phone.Server{IndexURL: c.Index, DownloadBase: c.Base}, Now: time.Now}
	files, err := p.Download(ctx, phone.Trust{KeyID: c.KeyID, KeyVersion: c.KeyVersion, Key: public}, nil)
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Printf("%s  %6d bytes  region %s  %5d keys  %d revised  signature valid\n", f.Name, f.Size, f.File.Region, len(f.File.Keys), len(f.File.Revised))
	}
	fmt.Printf("%d files, every signature valid\n", len(files))
	return nil
}
