package main

import (
	"context"
	"errors"
	"os"

	"carillon/deploy/chaffcheck"
	"carillon/deploy/phone"
)

type chaffCheckCommand struct {
	DeviceBase        string  `name:"device-base" required:"" help:"Base URL of the device API, ending in a slash; api/verify follows." placeholder:"URL"`
	DeviceKey         string  `name:"device-key" required:"" env:"CARILLON_DEVICE_KEY" help:"API key of kind device." placeholder:"KEY"`
	PublishURL        string  `name:"publish-url" required:"" help:"Where keys are published." placeholder:"URL"`
	HealthAuthorityID string  `name:"health-authority-id" required:"" help:"The authority's ID when publishing." placeholder:"ID"`
	IssueBase         string  `name:"issue-base" required:"" help:"Base URL of the admin API, ending in a slash." placeholder:"URL"`
	AdminKey          string  `name:"admin-key" required:"" env:"CARILLON_ADMIN_KEY" help:"API key of kind admin." placeholder:"KEY"`
	Reports           bool    `help:"Compare self-reports, too; the authority must allow them."`
	Rounds            int     `default:"300" help:"How many real requests, and how many of cover traffic, go to each endpoint."`
	Level             float64 `default:"0.01" help:"Probability of calling a server distinguishable that is not."`
}

func (c chaffCheckCommand) Run(ctx context.Context) error {
	err := chaffcheck.Run(ctx, chaffcheck.Options{
		Server: phone.Server{
			DeviceBase: c.DeviceBase, DeviceKey: c.DeviceKey, PublishURL: c.PublishURL, HealthAuthorityID: c.HealthAuthorityID,
		},
		Issuer:  phone.Issuer{Base: c.IssueBase, AdminKey: c.AdminKey},
		Reports: c.Reports, Rounds: c.Rounds, Level: c.Level, Out: os.Stdout,
	})
	if errors.Is(err, chaffcheck.ErrDistinguishable) {
		return errReported
	}
	return err
}
