package main

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/onboarding"
)

type tenantCommands struct {
	Create             tenantCreateCommand              `cmd:"" help:"Make a health authority: its settings, its keys, its exports."`
	CompleteKeys       tenantCompleteKeysCommand        `cmd:"" help:"After an upgrade: make the keys that older health authorities lack."`
	Show               tenantShowCommand                `cmd:"" help:"Show a health authority's settings."`
	Set                tenantSetCommand                 `cmd:"" help:"Change a health authority's settings."`
	Export             tenantExportCommands             `cmd:"" help:"What a health authority publishes: which keys, how often, in which files."`
	ExportKey          tenantExportKeyCommands          `cmd:"" help:"The keys that sign a health authority's export files, and their rotation."`
	LabFeed            tenantLabFeedCommand             `cmd:"" help:"Show or change how a health authority reads laboratory results."`
	Quota              quotaCommands                    `cmd:"" help:"Show a health authority's daily quota of codes, or add to it."`
	Provider           tenantProviderCommands           `cmd:"" help:"Who delivers a health authority's text messages."`
	Template           tenantTemplateCommands           `cmd:"" help:"The texts of a health authority's messages."`
	ReportPage         tenantReportPageCommands         `cmd:"" help:"The hosted page for self-reports."`
	PurgePhone         tenantPurgePhoneCommand          `cmd:"" help:"Let a telephone number report again, and end its unused code. The number is read from standard input."`
	VerificationServer tenantVerificationServerCommands `cmd:"" help:"Outside verification servers whose certificates are accepted."`
	Import             tenantImportCommands             `cmd:"" help:"A health authority from another deployment, or keys of outside key servers."`
	Share              tenantShareCommands              `cmd:"" help:"Exposure keys that health authorities give each other."`
	APIKey             tenantAPIKeyCommands             `cmd:"" name:"api-key" help:"Keys with which apps and systems present themselves."`
	Archive            tenantArchiveCommand             `cmd:"" help:"Write all that is a health authority's own into one file."`
	ErasureKey         erasureKeyCommand                `cmd:"" help:"Print the public keys with which certificates of erasure are signed."`
	Erasure            erasureCertificateCommand        `cmd:"" help:"Print the certificate of a health authority that was erased."`
	VerifyErasure      verifyErasureCommand             `cmd:"" help:"Tell whether a certificate of erasure is the platform's, and what it says. Needs no database."`
	App                tenantAppCommands                `cmd:"" help:"The apps to which a health authority's links lead."`
	MakeOwner          tenantMakeOwnerCommand           `cmd:"" name:"make-owner" help:"Break glass: make a member an owner, for an authority whose owners cannot do so."`
}

type tenantCreateCommand struct {
	Slug              string        `arg:"" help:"Name in URLs: lower-case letters, digits, hyphens."`
	Name              string        `required:"" help:"Name of the authority, for people."`
	Region            string        `required:"" help:"ISO 3166 code of what it serves, such as US-WA."`
	HealthAuthorityID string        `name:"health-authority-id" required:"" help:"What phones send as healthAuthorityID."`
	Issuer            string        `required:"" help:"iss of its certificates."`
	Audience          string        `default:"exposure-notifications-server" help:"aud of its certificates."`
	ExportKeyID       string        `name:"export-key-id" required:"" help:"Key ID in export files, usually the mobile country code."`
	ExportPeriod      time.Duration `default:"4h" help:"How often export files are cut; it must divide a day evenly."`

	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user; connects as carillon_operator." placeholder:"DSN"`
	keyOptions
}

func (c tenantCreateCommand) Run(ctx context.Context) error {
	keys, err := c.open(ctx, true)
	if err != nil {
		return err
	}
	defer keys.Close()
	dsn, err := asRole(c.Database, "carillon_operator")
	if err != nil {
		return err
	}
	db, err := tenant.Open(ctx, tenant.Config{DSN: dsn})
	if err != nil {
		return err
	}
	defer db.Close()
	id, err := onboarding.Create(ctx, db, keys.Custody, onboarding.Spec{
		Slug: c.Slug, Name: c.Name, Region: c.Region, HealthAuthorityID: c.HealthAuthorityID,
		Issuer: c.Issuer, Audience: c.Audience, ExportKeyID: c.ExportKeyID, ExportPeriod: c.ExportPeriod, ExportMinAge: -1,
	}, time.Now())
	if err != nil {
		return err
	}
	fmt.Printf("%s is tenant %s, served below /t/%s/.\n", c.Name, id, c.Slug)
	return nil
}
