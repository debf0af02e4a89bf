pub async fn run(
    _: &super::args::DemoArgs,
    _: &super::Printer,
) -> anyhow::Result<super::ExitStatus> {
    anyhow::bail!("not yet")
}
