//! Answers that are no documents, held to being short: the SDK takes them into memory whole.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

use crate::driver::error::SMALL_ANSWER_MAX_BYTES;

/// Cuts every answer off at a size that none should have, except for a document's.
#[derive(Debug)]
pub(super) struct ShortAnswers;

impl Intercept for ShortAnswers {
    fn name(&self) -> &'static str {
        "ShortAnswers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>();
        let is_document = operation.is_some_and(|operation| operation.name() == "GetObject");
        let response = context.response_mut();
        if is_document && response.status().is_success() {
            return Ok(());
        }
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, SMALL_ANSWER_MAX_BYTES));
        Ok(())
    }
}
